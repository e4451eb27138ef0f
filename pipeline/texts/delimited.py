"""CSV and TSV files: as many rows as the file has, or one message with the line.

Fields are quoted as RFC 4180 says. Three exceptions are read where they are certain, and logged. A
delimiter may differ from the file's name if only it gives the wanted columns. Quotation marks are
text in a TSV file if none of its fields can be a quoted one. Lone carriage returns end lines if
there are no other line ends.

A stray quotation mark can find a partner many rows later without breaking any rule. The rows in
between then become one text. Such a field is recognised by its lines, which have their own labels.
"""

import logging
import re
from collections.abc import Collection, Sequence
from pathlib import Path

from pipeline.errors import InputError
from pipeline.texts.decoding import read_text
from pipeline.texts.quoting import Record, RecordError, cut_line, parse_records
from pipeline.texts.source_table import SourceTable, find_columns

logger = logging.getLogger(__name__)

_DELIMITERS = (",", ";", "\t", "|")
_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_HINT = re.compile(r"sep=(.)\r?\n")
"""First line that Excel writes and reads: it names the delimiter and is no row."""
_WHOLLY_QUOTED = re.compile(r'"(?:[^"]|"")*"')
_QUOTED_AFTER_SPACE = re.compile(r' +"(?:[^"]|"")*" *')
_NUMBER = re.compile(r"[-+]?\d*\.?\d+(?:[eE][-+]?\d+)?")
_ADVICE = {
    "quotes": (
        "Close the quote, and double each quotation mark inside a quoted field. Or give the rows "
        "as JSONL, which needs no such quotes."
    ),
    "fields": (
        "Put fields that hold the delimiter, quotation marks or line ends in quotation marks. Or "
        "give the rows as JSONL."
    ),
}


def read_delimited(
    path: Path, wanted: Sequence[str], *, label: str, labels: Collection[str], delimiter: str
) -> SourceTable:
    """Return the wanted columns of a CSV or TSV file, each value as it is spelled there.

    Args:
        path: The file.
        wanted: Names of columns, ``label`` among them.
        label: Name of the label column.
        labels: Known labels, by which rows inside a quoted field are recognised; none for numbers.
        delimiter: The one that the file's name says.

    Raises:
        InputError: where it cannot be told for certain which rows the file holds.
    """
    text, delimiter, has_returns_alone = _prepare(path, delimiter)
    if has_returns_alone:
        logger.info("%s: its lines end in carriage returns", path)
    delimiter = _find_delimiter(text, wanted, delimiter, path)
    records = _read_records(text, delimiter, path, label=label, labels=labels)
    header, rows = records[0].fields, records[1:]
    columns = find_columns(wanted, header, str(path))
    if not rows:
        raise _refused(path, "it has a header and no rows", "Give a file with rows.")
    cells = {
        name: [record.fields[position] for record in rows] for name, position in columns.items()
    }
    if has_returns_alone:  # every line feed in a field was a carriage return
        cells = {n: [value.replace("\n", "\r") for value in v] for n, v in cells.items()}
    for name, values in cells.items():
        if values and all(map(_QUOTED_AFTER_SPACE.fullmatch, values)):
            problem = f"a space stands before every quote of the column {name!r}"
            raise _refused(path, problem, "Remove the spaces behind the delimiters.")
    return SourceTable(
        source=str(path),
        columns=cells,
        size=len(rows),
        lines=[record.line for record in rows],
    )


def delimited_names(path: Path, *, delimiter: str) -> list[str]:
    """Return the names in the header of a CSV or TSV file.

    Args:
        path: The file.
        delimiter: The one that the file's name says. Another one counts where it alone parts the
            header.

    Raises:
        InputError: for an empty file, or one that is no text.
    """
    text, delimiter, _ = _prepare(path, delimiter)
    headers = {each: _header(text, each) for each in (delimiter, *_DELIMITERS)}
    if len(headers[delimiter]) > 1:
        return headers[delimiter]
    return max(headers.values(), key=len)


def _prepare(path: Path, delimiter: str) -> tuple[str, str, bool]:
    """Return a file's text with line feeds, its delimiter, and whether it had none of them."""
    text = read_text(path)
    has_returns_alone = "\r" in text and "\n" not in text
    if has_returns_alone:
        text = text.replace("\r", "\n")
    if hint := _HINT.match(text):
        delimiter, text = hint[1], "\n" + text[hint.end() :]  # line numbers stay
    if not text.strip():
        raise _refused(path, "it is empty", "Give a file with a header and rows.")
    return text, delimiter, has_returns_alone


def _find_delimiter(text: str, wanted: Sequence[str], expected: str, path: Path) -> str:
    """Return the expected delimiter, or another one if only that gives the wanted columns."""
    headers = {each: _header(text, each) for each in (expected, *_DELIMITERS)}
    fitting = [each for each, names in headers.items() if set(wanted) <= set(names)]
    found = fitting[0] if fitting else expected
    if not fitting and len(headers[expected]) == 1:  # so that the message names the columns
        found = max(headers, key=lambda each: len(headers[each]))
    if found != expected:
        logger.info("%s: its fields are separated by %s", path, _NAMES[found])
    return found


def _header(text: str, delimiter: str) -> list[str]:
    """Return the fields of the first row; none where it cannot be read."""
    try:
        first = next(parse_records(text, delimiter), None)
    except RecordError:
        return []
    return [] if first is None else [name.strip() for name in first.fields]


def _read_records(
    text: str, delimiter: str, path: Path, *, label: str, labels: Collection[str]
) -> list[Record]:
    """Return header and rows, with as many fields each."""
    try:
        records = list(parse_records(text, delimiter))
        if not records:
            raise RecordError("it holds no fields")
        _check_fields(records, delimiter)
        _check_quoted_lines(text, records, delimiter, label=label, labels=labels)
        return records
    except RecordError as error:
        literal = _read_literally(text, delimiter) if delimiter == "\t" else None
        if literal is None:
            advice = _ADVICE["quotes" if str(error).startswith("the quote") else "fields"]
            raise _refused(path, str(error), advice) from error
        logger.info("%s: its quotation marks are read as text (%s)", path, error)
        return literal


def _check_fields(records: Sequence[Record], delimiter: str) -> None:
    expected = len(records[0].fields)
    for record in records:
        if len(record.fields) != expected:
            other = [each for each in _DELIMITERS if each != delimiter and each in record.fields[0]]
            hint = f", and holds {_NAMES[other[0]]}" if len(record.fields) == 1 and other else ""
            last = f" (to line {record.last_line})" if record.last_line > record.line else ""
            raise RecordError(
                f"line {record.line}{last} has {len(record.fields)} fields where the header has "
                f"{expected} (separated by {_NAMES.get(delimiter, repr(delimiter))}){hint}"
            )


def _check_quoted_lines(
    text: str, records: Sequence[Record], delimiter: str, *, label: str, labels: Collection[str]
) -> None:
    """Refuse a quoted field over several lines that look like rows by themselves."""
    header = [name.strip() for name in records[0].fields]
    long = [record for record in records[1:] if record.last_line > record.line]
    if not long or label not in header:
        return
    width, column = len(header), header.index(label)
    seen = {each.fields[column] for each in records[1:] if each.last_line == each.line} - {""}
    known = seen | set(labels)
    numeric = not labels and bool(seen) and all(map(_NUMBER.fullmatch, seen))
    lines = text.split("\n")
    for record in long:
        rows = 0
        for line in lines[record.line - 1 : record.last_line]:
            fields = line.removesuffix("\r").split(delimiter)
            # Counted from both sides: the text may hold delimiters.
            ends = {fields[column], fields[column - width]} if len(fields) >= width else set()
            rows += any(each in known or (numeric and _NUMBER.fullmatch(each)) for each in ends)
        if rows >= 2:  # one of them is the end, or the start, of the record itself
            raise RecordError(
                f"the quote that opens in line {record.line} closes in line {record.last_line}, "
                f"and {rows} lines between look like rows"
            )


def _read_literally(text: str, delimiter: str) -> list[Record] | None:
    """Return the lines as rows in which quotes mean nothing; None where that is not certain."""
    records: list[Record] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip(" \r"):
            continue
        try:
            fields = cut_line(line, delimiter, number)
        except RecordError:
            return None
        if records and len(fields) != len(records[0].fields):
            return None
        if any(map(_WHOLLY_QUOTED.fullmatch, fields)):
            return None
        records.append(Record(line=number, fields=tuple(fields), last_line=number))
    return records


def _refused(path: Path, problem: str, advice: str) -> InputError:
    return InputError(f"Cannot read the file {path}: {problem}. {advice}")
