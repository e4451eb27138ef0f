"""Columns of a user's table, and the choice of those that a task can be trained on.

`adapter-distill new` proposes what is certain, and refuses the rest. It takes a column that the
user names, that alone fits, or that has the default name of a config.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

from pipeline.errors import InputError
from pipeline.texts.cells import FLAGS, Cell, Number, spell_cells
from pipeline.texts.nested import read_nested
from pipeline.texts.source_table import SourceTable

_WIDE = "\u2e80"
"""First character of the scripts without spaces between words."""
_PROSE = 0.5
"""Smallest share of a text column's cells that hold several words."""
_FEWEST_PER_VALUE = 5
"""Fewest rows per value of a column of classes; texts repeat less."""
_MOST_CLASSES = 1000
_MISSING = ("nan", "null")


class UnfitError(InputError):
    """A table cannot be read for a task, or can be read in several ways."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """A column of a table: its name and its cells."""

    name: str
    cells: Sequence[Cell]
    own_names: tuple[str, ...] | None = None
    """Names that the data set itself gives to the indices in its cells."""
    values: tuple[str, ...] | None = field(init=False)
    """Spelling of each cell that is not empty; None where a cell has no single spelling."""

    def __post_init__(self) -> None:
        """Spell the cells."""
        object.__setattr__(self, "values", _values(self))

    @property
    def distinct(self) -> frozenset[str]:
        """Distinct values of the column."""
        return frozenset(self.values or ())

    @property
    def lists(self) -> list[list[Cell]] | None:
        """Cells that are not missing, if all of them are lists; otherwise None."""
        filled = [read_nested(cell) for cell in self.cells if cell not in (None, "")]
        lists = [list(cell) for cell in filled if isinstance(cell, list | tuple)]
        return lists if lists and len(lists) == len(filled) else None


def columns_of(table: SourceTable) -> tuple[Column, ...]:
    """Return the columns of a table."""
    return tuple(
        Column(name=name, cells=cells, own_names=table.label_names.get(name))
        for name, cells in table.columns.items()
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Given:
    """Columns that the user names; none where the table decides."""

    text: tuple[str, ...] = ()
    label: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Proposal:
    """How a table is read for a task."""

    text: tuple[str, ...]
    label: tuple[str, ...]
    """Names of the label columns; empty for a task whose texts are their own labels."""
    labels: tuple[str, ...] = ()
    """Value of ``data.labels``."""
    backbone: str | None = None
    """Kind of backbone, as a noun, for a task that the usual backbone cannot learn."""
    assumed: tuple[str, ...] = ()
    """Assumptions that were made for want of an option, in sentences."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Role:
    """Purpose of a column: text or label."""

    noun: str
    """Noun of the column in messages, such as ``the label``."""
    option: str
    """Command-line option that names such a column."""
    usual: str
    """Usual name, which decides between several columns that fit."""


TEXT = Role(noun="the text", option="--text", usual="text")
LABEL = Role(noun="the label", option="--label", usual="label")


def find_texts(
    columns: Sequence[Column], given: Given, *, most: int = 2
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of the text columns, and the assumptions made.

    Args:
        columns: All columns of the table.
        given: Names that the user gave.
        most: Largest number of text columns that the task takes.

    Raises:
        UnfitError: where the text columns are not certain.
    """
    if given.text:
        if len(given.text) > most:
            raise UnfitError(
                f"Expected at most {most} text column{'s' if most > 1 else ''}, found --text "
                f"{len(given.text)} times."
            )
        return tuple(named(columns, name, TEXT).name for name in given.text), ()
    fitting = [each for each in columns if is_prose(each) and each.name not in given.label]
    names = {each.name for each in fitting}
    pair = (TEXT.usual, f"{TEXT.usual}_b")
    if most > 1 and set(pair) <= names:
        return pair, assumed_of(TEXT, pair, names)
    chosen, assumed = choose(TEXT, columns, fitting, "two words or more, mostly different")
    return (chosen.name,), assumed


def find_label(
    columns: Sequence[Column],
    given: Given,
    fits: Callable[[Column], bool],
    wanted: str,
    role: Role = LABEL,
) -> tuple[Column, tuple[str, ...]]:
    """Return the label column and the assumptions made.

    Args:
        columns: Columns of the table without its text columns.
        given: Names that the user gave.
        fits: (column) -> whether it may be the label.
        wanted: Content of such a column, for messages.
        role: Noun, option and usual name of the column.

    Raises:
        UnfitError: where the label column is not certain.
    """
    if len(given.label) > 1:
        raise UnfitError(f"Expected one label column, found --label {len(given.label)} times.")
    if given.label:
        return named(columns, given.label[0], role), ()
    return choose(role, columns, [each for each in columns if fits(each)], wanted)


def without(columns: Sequence[Column], names: Sequence[str]) -> tuple[Column, ...]:
    """Return the columns except those of these names."""
    return tuple(each for each in columns if each.name not in names)


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Return label names in the order that people expect: numbers by value, names by letter."""
    return tuple(sorted(names, key=lambda name: (_by_value(name), name.casefold(), name)))


def check_names(names: Sequence[str], fold: Callable[[str], str], column: str) -> None:
    """Refuse label names that may not all be separate labels.

    Args:
        names: All distinct names.
        fold: (name) -> the part that two spellings of one name share.
        column: Name of the column.

    Raises:
        UnfitError: for a missing value that is spelled out, or two spellings of one name.
    """
    if empty := [name for name in names if name.casefold() in _MISSING]:
        raise UnfitError(
            f"The column {column!r} holds {empty[0]!r}, which may be a label or stand for a "
            "missing one. Leave those cells empty, or write another name."
        )
    seen: dict[str, str] = {}
    for name in names:
        if (other := seen.setdefault(fold(name), name)) != name:
            raise UnfitError(
                f"The column {column!r} holds both {other!r} and {name!r}, which may be one label. "
                "Write them one way, or write names that differ."
            )


def named(columns: Sequence[Column], name: str, role: Role) -> Column:
    """Return the column of a name.

    Raises:
        UnfitError: where the table lacks the column, or uses it for another role.
    """
    found = next((each for each in columns if each.name == name), None)
    if found is None:
        raise UnfitError(
            f"{role.option} {name}: there is no such column beside the others that were named. "
            f"Give one of {_listed(each.name for each in columns)}."
        )
    return found


def choose(
    role: Role, columns: Sequence[Column], fitting: Sequence[Column], wanted: str
) -> tuple[Column, tuple[str, ...]]:
    """Return the only column that fits, or that of the usual name, and the assumptions made.

    Raises:
        UnfitError: where none fits, or several do.
    """
    if not fitting:
        raise UnfitError(
            f"No column looks like {role.noun} ({wanted}). Name it with {role.option}: one of "
            f"{_listed(each.name for each in columns)}."
        )
    usual = [each for each in fitting if each.name == role.usual]
    if len(fitting) > 1 and not usual:
        pairs = " (twice for a pair of texts)" if role is TEXT else ""
        raise UnfitError(
            f"{len(fitting)} columns may be {role.noun}: {_listed(each.name for each in fitting)}. "
            f"Name the right one with {role.option}{pairs}."
        )
    chosen = (usual or fitting)[0]
    return chosen, assumed_of(role, (chosen.name,), {each.name for each in fitting})


def assumed_of(role: Role, chosen: Sequence[str], fitting: Iterable[str]) -> tuple[str, ...]:
    """Return the assumptions, as sentences, about columns that the user did not name."""
    others = sorted(set(fitting) - set(chosen))
    aside = f", and not {_listed(others)}, which would fit too" if others else ""
    return (f"{role.noun} is in {_listed(chosen)}{aside}",)


def is_prose(column: Column) -> bool:
    """Return whether a column holds texts, with several words in most cells and few repetitions."""
    values = column.values
    if not values or any(isinstance(cell, Number | bool) for cell in column.cells):
        return False
    if column.lists or all(each.startswith("[") and each.endswith("]") for each in values):
        return False
    several = sum(" " in each.strip() or any(char >= _WIDE for char in each) for each in values)
    return several >= _PROSE * len(values) and not _repeats(column)


def is_class(column: Column) -> bool:
    """Return whether a column holds 2 to 1,000 different values that repeat as classes do."""
    if column.values is None or not 2 <= len(column.distinct) <= _MOST_CLASSES:
        return False
    return _repeats(column) and all(map(_is_whole_or_name, column.distinct))


def is_flag(column: Column) -> bool:
    """Return whether a column holds 0 and 1, or false and true, and both occur."""
    folded = {each.casefold() for each in column.distinct}
    return len(folded) == 2 and folded <= FLAGS.keys()


def number_of(value: str) -> float:
    """Return a cell's number; NaN where it holds none, as for Python's underscores in numbers."""
    try:
        return math.nan if "_" in value else float(value)
    except ValueError:
        return math.nan


def _values(column: Column) -> tuple[str, ...] | None:
    try:
        spelled = spell_cells(column.name, column.cells, "", partial(str))
    except InputError:
        return None
    return tuple(each.strip() for each in spelled if each.strip())


def _repeats(column: Column) -> bool:
    """Return whether values occur several times on average; two values need fewer."""
    count = len(column.distinct)
    return count * _FEWEST_PER_VALUE <= len(column.values or ()) or count <= 2


def _is_whole_or_name(value: str) -> bool:
    number = number_of(value)
    return math.isnan(number) or number.is_integer()


def _by_value(name: str) -> tuple[bool, float]:
    number = number_of(name)
    return (True, 0.0) if math.isnan(number) else (False, number)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names)) or "none"
