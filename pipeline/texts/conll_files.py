"""CoNLL files: a word and its tag a line, sentences parted by blank lines.

The first column is the word and the last one the tag, as in the files of most shared tasks. Fields
are parted by tabs where there are some, else by spaces. Lines that begin a document (-DOCSTART-)
are left out.
"""

from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import InputError
from pipeline.texts.decoding import read_text
from pipeline.texts.source_table import SourceTable, find_columns

WORDS, TAGS = "tokens", "tags"
"""Names of the columns: lists of words, and lists of as many tags."""
_DOCUMENT = "-DOCSTART-"


def read_conll(path: Path, wanted: Sequence[str]) -> SourceTable:
    """Return the sentences of a CoNLL file as the columns ``tokens`` and ``tags``.

    Raises:
        InputError: for a line without a tag or with another number of fields, or another column.
    """
    text = read_text(path)
    delimiter = "\t" if "\t" in text else None
    sentences: list[list[list[str]]] = []
    lines: list[int] = []
    fields_of_first, is_open = 0, False
    for number, line in enumerate(text.split("\n"), start=1):
        fields = line.strip().split(delimiter)
        if not line.strip() or fields[0] == _DOCUMENT:
            is_open = False
            continue
        fields_of_first = fields_of_first or len(fields)
        if len(fields) < 2 or len(fields) != fields_of_first:
            raise InputError(
                f"Cannot read the file {path}: line {number} has {len(fields)} fields, expected "
                f"{max(2, fields_of_first)} with a word first and its tag last. Correct the line."
            )
        if not is_open:
            sentences.append([])
            lines.append(number)
            is_open = True
        sentences[-1].append([fields[0].strip(), fields[-1].strip()])
    if not sentences:
        raise InputError(f"Cannot read the file {path}: it is empty. Give a file with sentences.")
    find_columns(wanted, (WORDS, TAGS), str(path))
    words, tags = ([[pair[part] for pair in each] for each in sentences] for part in (0, 1))
    columns = {WORDS: words, TAGS: tags}
    return SourceTable(
        source=str(path),
        columns={name: columns[name] for name in wanted},
        size=len(sentences),
        lines=lines,
    )
