"""Cells of a source by their types: texts, and the spelling of all others.

A text column must hold text. Nobody wrote Python's spelling of a list or a date, so such columns
are refused by their type.
"""

import datetime
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from pipeline.errors import InputError


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class Number:
    """A number that stands in a source as one."""

    spelled: str
    """Its digits, as the source writes them."""

    def __repr__(self) -> str:
        """Return its digits: messages show cells, also lists with numbers in them."""
        return self.spelled


# object: whatever a Parquet file holds; all but text, bytes, numbers, booleans and dates is
# refused.
Cell = str | Number | object | None

FLAGS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}
"""Spellings of no and yes."""

MISSING_LABEL = -100
"""Label of a word or token that has none."""

Label = int | float | tuple[int, ...]
"""A label as the splits hold it: a class index, a number, or several indices."""

_KINDS: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (str, "text"),
    ((bytes, bytearray, memoryview), "bytes"),
    (bool, "booleans"),
    ((Number, int, float, Decimal), "numbers"),
    ((datetime.date, datetime.time, datetime.timedelta), "dates or times"),
    ((list, tuple, set), "lists"),
    (dict, "dictionaries"),
)
_SHOWN = 60
"""Characters of a cell that a message shows."""


def read_texts_of(
    name: str, cells: Sequence[Cell], source: str, place: Callable[[int], str]
) -> list[str]:
    """Return the cells of a text column without white space around; a missing one is empty.

    Bytes are read as UTF-8.

    Args:
        name: Name of the column.
        cells: Its cells.
        source: What messages call the source.
        place: (row) -> where it stands.

    Raises:
        InputError: for a cell of another type, or one that UTF-8 cannot express.
    """
    texts = []
    for row, cell in enumerate(cells):
        text = _as_text(cell)
        if text is None:
            raise InputError(
                f"{source}: the column {name!r} holds {_kind(cell)}, expected text (first in "
                f"{place(row)}: {_shown(cell)}). Give a column of text, or write these as text."
            )
        if not _is_unicode(text):
            raise InputError(
                f"{source}: the column {name!r} holds half a character (a surrogate) in "
                f"{place(row)}, {_shown(cell)}. Remove it, or write the whole character."
            )
        texts.append(text.strip())
    return texts


def spell_cells(
    name: str, cells: Sequence[Cell], source: str, place: Callable[[int], str]
) -> list[str]:
    """Return the cells of a label or filter column as they are spelled; a missing one is empty.

    Booleans are ``true`` and ``false``, dates as in ISO 8601.

    Raises:
        InputError: for a cell that has no single spelling, such as a list.
    """
    spelled = []
    for row, cell in enumerate(cells):
        found = _as_spelled(cell)
        if found is None:
            raise InputError(
                f"{source}: the column {name!r} holds {_kind(cell)}, expected one value for each "
                f"row (first in {place(row)}: {_shown(cell)}). Give another column."
            )
        spelled.append(found)
    return spelled


def is_value(cell: Cell, wanted: str) -> bool:
    """Return whether a cell is the value that a filter names.

    Text must be spelled alike. Numbers and booleans have no one spelling, so 1.0 is 1 and True is
    true.
    """
    found = _as_spelled(cell)
    if found == wanted:
        return True
    if isinstance(cell, bool):
        return found == wanted.lower()
    if isinstance(cell, Number):
        try:
            return float(cell.spelled) == float(wanted)
        except ValueError:
            return False
    return False


def _as_text(cell: Cell) -> str | None:
    if cell is None:
        return ""
    if isinstance(cell, str):
        return cell
    if isinstance(cell, bytes):
        try:
            return cell.decode("utf-8")
        except UnicodeDecodeError:
            return None
    return None


def _as_spelled(cell: Cell) -> str | None:
    if isinstance(cell, Number):
        return cell.spelled
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, datetime.date | datetime.time):
        return cell.isoformat()
    return _as_text(cell)


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _kind(cell: Cell) -> str:
    named = next((name for kinds, name in _KINDS if isinstance(cell, kinds)), None)
    if named == "bytes":
        return "bytes that are not UTF-8"
    if isinstance(cell, Number) and math.isnan(float(cell.spelled)):
        return "numbers (NaN)"
    return named or f"values of the type {type(cell).__name__}"


def _shown(cell: Cell) -> str:
    shown = repr(cell)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"
