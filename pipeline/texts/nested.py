"""Cells that hold lists or dictionaries: as such, or written out as text.

A data frame with a column of lists becomes a CSV file whose cells read as Python prints lists. Such
a cell is read where it is certain: JSON, or Python's own spelling to the last character.
"""

import ast
import json
from collections.abc import Callable, Sequence
from functools import partial

from pipeline.errors import InputError
from pipeline.texts.cells import Cell, Number, spell_cells

_BRACKETS = ("[", "{", "(")


def read_nested(cell: Cell) -> Cell:
    """Return the list or dictionary that a text spells; any other cell as it is.

    Numbers inside are as in a JSON file. Lists as numpy prints them stay text, because they lack
    commas.
    """
    if not isinstance(cell, str) or not cell.lstrip().startswith(_BRACKETS):
        return cell
    try:
        found = json.loads(cell, parse_int=_number, parse_float=_number, parse_constant=_number)
    except (ValueError, RecursionError):
        found = _read_python(cell.strip())
    return found if isinstance(found, list | dict) else cell


def _number(spelled: str) -> Number:
    return Number(spelled=spelled)


def _read_python(cell: str) -> Cell:
    """Return what Python's spelling of a list, tuple or dictionary means; None for another text."""
    try:
        value = ast.literal_eval(cell)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    # Python joins strings without a comma between, so such a text is spelled otherwise.
    return _as_json(value) if repr(value) == cell else None


def _as_json(value: Cell) -> Cell:
    """Return a value of Python's as a JSON file would hold it."""
    if isinstance(value, list | tuple):
        return [_as_json(each) for each in value]
    if isinstance(value, dict):
        return {name: _as_json(each) for name, each in value.items()}
    return _number(repr(value)) if type(value) in (int, float) else value


def spell_lists(
    name: str, cells: Sequence[Cell], source: str, place: Callable[[int], str]
) -> list[str]:
    """Return what `spell_cells` does; a list becomes the JSON array of its values' spellings.

    Raises:
        InputError: for a cell without a single spelling, or a list with such a value or a gap.
    """
    spelled = []
    for row, cell in enumerate(map(read_nested, cells)):
        at = partial(_same_place, place(row))
        if not isinstance(cell, list | tuple):
            spelled += spell_cells(name, [cell], source, at)
            continue
        values = [_as_json(each) for each in cell]
        if None in values:
            raise InputError(
                f"{source}: the column {name!r} holds a list with a gap in {place(row)}, "
                f"{cell!r}. Write the missing value, or leave its place out."
            )
        found = spell_cells(name, values, source, at)
        spelled.append(json.dumps([each.strip() for each in found], ensure_ascii=False))
    return [each.strip() for each in spelled]


def _same_place(place: str, _row: int) -> str:
    return place
