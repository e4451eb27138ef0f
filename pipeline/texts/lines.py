"""Lines of text files that may be larger than memory, and compressed.

Only line feeds end a line, as everywhere.
"""

import io
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

from pipeline.errors import refusing
from pipeline.store.places import COMPRESSIONS
from pipeline.texts.decoding import decode, decode_lines, refuse_binary

Item = TypeVar("Item")

_MARK = b"\xef\xbb\xbf"
_WIDE_MARKS = (b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff")
"""Byte order marks of UTF-16 and UTF-32, whose line feeds are no single bytes."""
_COMPRESSED = (".jsonl", ".txt")
"""Kinds of files that may be compressed."""


def kind_of(path: Path) -> str:
    """Return the end of a file's name that says its kind: ``.jsonl`` of ``texts.jsonl.gz``."""
    ends = [each.lower() for each in path.suffixes]
    if ends[-1:] and ends[-1] in COMPRESSIONS and ends[-2:-1] and ends[-2] in _COMPRESSED:
        return ends[-2]
    return ends[-1] if ends else ""


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a text file with their numbers, as they are asked for.

    Raises:
        InputError: when it cannot be read, or is not text in UTF-8 or in UTF with a mark.
    """
    source = f"the file {path}"
    with (
        refusing(f"Cannot read {source}", "Give a whole file that can be read."),
        io.BufferedReader(pa.input_stream(str(path), compression="detect")) as file,
    ):
        start = file.peek(16)[:16]
        if start.startswith(_WIDE_MARKS):
            yield from enumerate(decode(file.read(), source).split("\n"), start=1)
            return
        refuse_binary(start, source)
        for number, line in enumerate(file, start=1):
            line = line.removeprefix(_MARK) if number == 1 else line
            yield number, decode_lines(line, source, first=number).removesuffix("\n")


def in_parts(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Yield items in lists of so many; the last one may be shorter."""
    left = iter(items)
    while part := list(islice(left, size)):
        yield part
