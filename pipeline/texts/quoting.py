"""Records of delimited text, by RFC 4180 to the letter, each with the line that it begins in.

Readers that forgive a stray quotation mark swallow every row up to the next one. Here a quoted
field must end before a delimiter or a line end. Anything else is an error with its line.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_QUOTE = '"'


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """One row."""

    line: int
    """Line that it begins in, from 1."""
    fields: tuple[str, ...]
    last_line: int
    """Line that it ends in: another one where a quoted field holds line ends."""


class RecordError(ValueError):
    """Text that is no sequence of records. The message is a sentence without its full stop."""


def parse_records(text: str, delimiter: str) -> Iterator[Record]:
    r"""Yield the records of delimited text whose lines end in ``\n`` or ``\r\n``.

    Lines of nothing but spaces are no records.

    Raises:
        RecordError: for a quote that is never closed, or closed in the middle of a field, and for
            a carriage return that ends no line.
    """
    stop = re.compile(f"{re.escape(delimiter)}|\n")
    position, line = 0, 1
    while position < len(text):
        start = position
        end = _line_end(text, position)
        if text.find(_QUOTE, start, end) < 0:
            fields = cut_line(text[start:end], delimiter, line)
            position = end + 1
        else:
            fields, position = _quoted_record(text, position, delimiter, stop)
        last = line + text.count("\n", start, position - 1)
        if len(fields) > 1 or fields[0].strip(" "):
            yield Record(line=line, fields=tuple(fields), last_line=last)
        line = last + 1


def cut_line(content: str, delimiter: str, line: int) -> list[str]:
    r"""Return the fields of a line in which quotes mean nothing; a final ``\r`` is dropped.

    Raises:
        RecordError: for another carriage return in it.
    """
    content = content.removesuffix("\r")
    if "\r" in content:
        raise RecordError(f"line {line} holds a carriage return that ends no line")
    return content.split(delimiter)


def _line_end(text: str, position: int) -> int:
    end = text.find("\n", position)
    return len(text) if end < 0 else end


def _quoted_record(
    text: str, position: int, delimiter: str, stop: re.Pattern[str]
) -> tuple[list[str], int]:
    """Return the fields of the record at a position, and where the next record begins."""
    fields = []
    while True:
        if text.startswith(_QUOTE, position):
            field, position = _quoted_field(text, position, delimiter)
            at_line_end = not text.startswith(delimiter, position)
            position += text.startswith("\r\n", position)
        else:
            found = stop.search(text, position)
            end = found.start() if found else len(text)
            at_line_end = found is None or found.group() == "\n"
            field, position = _plain_field(text, position, end, at_line_end=at_line_end), end
        fields.append(field)
        position += 1
        if at_line_end:
            return fields, position


def _plain_field(text: str, position: int, end: int, *, at_line_end: bool) -> str:
    field = text[position:end]
    if at_line_end:
        field = field.removesuffix("\r")
    if "\r" in field:
        raise RecordError(f"line {_line(text, position)} holds a carriage return that ends no line")
    return field


def _quoted_field(text: str, position: int, delimiter: str) -> tuple[str, int]:
    """Return the content of the quoted field at a position, and the position behind it."""
    end = position + 1
    while True:
        end = text.find(_QUOTE, end)
        if end < 0:
            raise RecordError(f"the quote that opens in line {_line(text, position)} never closes")
        if not text.startswith(_QUOTE, end + 1):
            break
        end += 2
    behind = end + 1
    is_end = (
        behind == len(text)
        or text.startswith((delimiter, "\n", "\r\n"), behind)
        or (behind == len(text) - 1 and text[behind] == "\r")
    )
    if not is_end:
        closed = _line(text, end)
        raise RecordError(
            f"the quote that opens in line {_line(text, position)} closes in "
            f"{'the same line' if closed == _line(text, position) else f'line {closed}'}, in the "
            f"middle of a field (before {text[behind : behind + 10]!r})"
        )
    return text[position + 1 : end].replace('""', '"'), behind


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1
