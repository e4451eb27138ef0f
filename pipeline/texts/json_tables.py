"""JSON Lines, and JSON files of one array of objects, one object of columns, or SQuAD's articles.

Numbers keep their spelling. Lines are cut at line feeds alone: U+2028 and the like may stand in a
text.
"""

import json
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.texts.cells import Cell, Number
from pipeline.texts.decoding import read_text
from pipeline.texts.lines import in_parts, numbered_lines
from pipeline.texts.source_table import SourceTable, find_columns
from pipeline.texts.squad_files import is_squad, squad_rows

logger = logging.getLogger(__name__)

_ADVICE = 'Give one object per line, such as {"text": "...", "label": "..."}.'
# Any: an object of a JSON file may hold anything.
_Row = dict[str, Any]


def read_json_table(path: Path, wanted: Sequence[str]) -> SourceTable:
    """Return the wanted columns of a JSON Lines or JSON file. A key that a row lacks is empty.

    Raises:
        InputError: for what is no JSON, with its line, or is no table.
    """
    rows, lines = _read_rows(path)
    names = _names(rows)
    found = find_columns(wanted, names, str(path))
    columns: dict[str, Sequence[Cell]] = {}
    for name, position in found.items():
        key = names[position]
        columns[name] = [row.get(key) for row in rows]
        if lacking := sum(key not in row for row in rows):
            logger.info("%s: %d of %d rows have no %r", path, lacking, len(rows), key)
    ids = [str(row["id"]) for row in rows] if lines is None and _have_ids(rows) else None
    return SourceTable(source=str(path), columns=columns, size=len(rows), lines=lines, ids=ids)


def json_parts(path: Path, wanted: Sequence[str], size: int) -> Iterator[SourceTable]:
    """Yield the wanted columns of a JSON Lines file, so many rows at a time.

    It is read twice, because any of its rows may have a key that the first ones lack. A file that
    is one JSON value is read as a whole.

    Raises:
        InputError: as `read_json_table` does.
    """
    if not _holds_lines(path):
        yield read_json_table(path, wanted)
        return
    having: Counter[str] = Counter()
    total = 0
    for _, row in _line_rows(path):
        having.update(row.keys())
        total += 1
    names = list(having)
    found = {name: names[at] for name, at in find_columns(wanted, names, str(path)).items()}
    for key in found.values():
        if lacking := total - having[key]:
            logger.info("%s: %d of %d rows have no %r", path, lacking, total, key)
    for part in in_parts(_line_rows(path), size):
        yield SourceTable(
            source=str(path),
            columns={name: [row.get(key) for _, row in part] for name, key in found.items()},
            size=len(part),
            lines=[number for number, _ in part],
        )


def _holds_lines(path: Path) -> bool:
    """Return whether a file has an object in its first line, and is not that object alone."""
    lines = (line for _, line in numbered_lines(path) if line.strip())
    first = _try_whole(next(lines, ""))
    if not isinstance(first, dict):
        return False
    return next(lines, None) is not None or not (_is_columns(first) or is_squad(first))


def _line_rows(path: Path) -> Iterator[tuple[int, _Row]]:
    """Yield the object of each line that is not blank, with the line's number."""
    for number, line in numbered_lines(path):
        if line.strip():
            yield number, _as_row(_parse(line, f"line {number}", path), number, path)


def _as_row(value: object, number: int, path: Path) -> _Row:
    if not isinstance(value, dict):
        raise _refused(path, f"line {number} holds {_shown(value)}, expected an object")
    return value


def _have_ids(rows: list[_Row]) -> bool:
    ids = [row.get("id") for row in rows]
    return all(isinstance(each, str) for each in ids) and len({*ids}) == len(ids)


def json_names(path: Path) -> list[str]:
    """Return all keys of the rows of a JSON Lines or JSON file.

    Raises:
        InputError: for what is no JSON, or is no table.
    """
    return _names(_read_rows(path)[0])


def _names(rows: Sequence[_Row]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def _read_rows(path: Path) -> tuple[list[_Row], list[int] | None]:
    """Return the objects of a file and the line of each, where it has one a line."""
    text = read_text(path)
    if not text.strip():
        raise _refused(path, "it is empty")
    rows, lines = _cut_rows(text, path)
    if not rows:
        raise _refused(path, "it holds no rows")
    return rows, lines


def _cut_rows(text: str, path: Path) -> tuple[list[_Row], list[int] | None]:
    if text.lstrip().startswith("["):
        return _rows_of(_parse(text, "", path), path), None
    lines = [
        (number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()
    ]
    try:
        parsed = [(number, _parse(line, f"line {number}", path)) for number, line in lines]
    except InputError:
        whole = _try_whole(text)
        if whole is None:
            raise
        return _rows_of(whole, path), None
    if len(parsed) == 1 and (_is_columns(parsed[0][1]) or is_squad(parsed[0][1])):
        return _rows_of(parsed[0][1], path), None
    rows = [_as_row(row, number, path) for number, row in parsed]
    return rows, [number for number, _ in parsed]


def _rows_of(content: object, path: Path) -> list[_Row]:
    """Return the rows of a whole JSON file."""
    if isinstance(content, dict) and is_squad(content):
        try:
            return squad_rows(content)
        except ValueError as error:
            raise InputError(
                f"Cannot read the file {path}: {error}. Correct it there, as SQuAD's files are."
            ) from error
    if isinstance(content, dict) and _is_columns(content):
        return [
            dict(zip(content, values, strict=True))
            for values in zip(*content.values(), strict=True)
        ]
    if not isinstance(content, list):
        raise _refused(path, f"it holds {_shown(content)}, expected an array of objects")
    for number, row in enumerate(content, start=1):
        if not isinstance(row, dict):
            raise _refused(path, f"row {number} is {_shown(row)}, expected an object")
    return content


def _is_columns(content: object) -> bool:
    if not isinstance(content, dict) or not content:
        return False
    values = list(content.values())
    return all(isinstance(v, list) for v in values) and len({len(v) for v in values}) == 1


def _try_whole(text: str) -> object:
    try:
        return _loads(text)
    except (ValueError, RecursionError):
        return None


def _parse(text: str, place: str, path: Path) -> object:
    try:
        return _loads(text)
    except json.JSONDecodeError as error:
        where = f"{place}, column {error.colno}" if place else f"line {error.lineno}"
        raise _refused(path, f"{where} is no JSON ({error.msg})") from error
    except _TwiceError as error:
        raise _refused(path, f"{place or 'an object'} holds the key {error} twice") from error
    except RecursionError as error:
        raise _refused(path, f"{place or 'it'} is nested too deeply") from error


class _TwiceError(ValueError):
    """A key that an object holds twice."""


def _loads(text: str) -> object:
    return json.loads(
        text,
        object_pairs_hook=_object,
        parse_int=_number,
        parse_float=_number,
        parse_constant=_number,
    )


def _number(spelled: str) -> Number:
    return Number(spelled=spelled)


def _object(pairs: list[tuple[str, Any]]) -> _Row:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise _TwiceError(repr(next(name for name in names if names.count(name) > 1)))
    return found


def _shown(value: object) -> str:
    if isinstance(value, Number):
        return value.spelled
    shown = json.dumps(value, default=lambda each: getattr(each, "spelled", "?"))
    return shown if len(shown) <= 60 else f"{shown[:60]}…"


def _refused(path: Path, problem: str) -> InputError:
    return InputError(f"Cannot read the file {path}: {problem}. {_ADVICE}")
