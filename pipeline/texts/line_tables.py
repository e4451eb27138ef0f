"""Text files as tables: a text per line, in one column that is called ``text``."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import InputError
from pipeline.texts.decoding import read_text
from pipeline.texts.source_table import SourceTable, find_columns

LINES = ".txt"
"""End of such a file's name."""
TEXTS = "text"
"""Name of the column."""


def read_lines(path: Path, wanted: Sequence[str]) -> SourceTable:
    """Return the lines of a text file that are not blank.

    Raises:
        InputError: for a file without texts, or another column than ``text``.
    """
    lines = [
        (number, line.removesuffix("\r"))
        for number, line in enumerate(read_text(path).split("\n"), start=1)
        if line.strip()
    ]
    if not lines:
        raise InputError(f"Cannot read the file {path}: it is empty. Give a file with texts.")
    find_columns(wanted, (TEXTS,), str(path))
    return SourceTable(
        source=str(path),
        columns={name: [line for _, line in lines] for name in wanted},
        size=len(lines),
        lines=[number for number, _ in lines],
    )
