"""Sets of labels as the sources spell them: lists, strings with a delimiter, columns of 0 and 1.

Lists are in a JSON or Parquet file, or written out in a CSV file. A list of one 0 or 1 per label
equals such columns. A string is cut at the one delimiter whose parts are all known labels. The
parts are single labels, which class_labels.py reads or refuses for all sources together.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from pipeline.config import DataConfig
from pipeline.tasks.class_labels import fold_label, read_class_labels
from pipeline.tasks.columns import (
    LABEL,
    Column,
    Given,
    Proposal,
    UnfitError,
    check_names,
    choose,
    find_texts,
    in_order,
    is_flag,
    named,
    without,
)
from pipeline.tasks.task import LabelColumn
from pipeline.texts.cells import FLAGS, Label, Number
from pipeline.texts.nested import read_nested

logger = logging.getLogger(__name__)

_DELIMITERS = (",", ";", "|")
_FEWEST_PER_PART = 5
"""Fewest rows per name of a column of labels."""


def set_names(config: DataConfig) -> tuple[str, ...]:
    """Return the names of the labels, which the config or its columns of 0 and 1 give."""
    return config.labels if isinstance(config.label, str) else config.label


def read_label_sets(columns: Sequence[LabelColumn], config: DataConfig) -> list[list[Label | None]]:
    """Return 0 or 1 for each label of every cell of every source; None for an empty cell.

    An empty cell of a string column means that the labels are missing, and the text is left out. A
    text to which no label applies has an empty list, or a row of zeros.

    Raises:
        ValueError: for cells that are no labels, or that can be read in two ways.
    """
    if not isinstance(config.label, str):
        return [_read_flags((column, *column.others), config.label) for column in columns]
    lists = {cell: _as_list(cell) for column in columns for cell in column.cells if cell}
    rows = {cell: row for cell, row in lists.items() if row is not None}
    if rows and _are_flags(rows, columns, config):
        flags = {cell: tuple(FLAGS[each.casefold()] for each in row) for cell, row in rows.items()}
        return [[flags.get(cell) for cell in column.cells] for column in columns]
    cut = rows.__getitem__ if rows else _cutter(columns, config)
    sets = [_SetColumn.cut(column, cut) for column in columns]
    found = read_class_labels([each.flat for each in sets], config)
    return [
        each.gather(labels, len(config.labels)) for each, labels in zip(sets, found, strict=True)
    ]


@dataclass(frozen=True, kw_only=True, slots=True)
class _SetColumn:
    """A label column whose cells were cut into single labels."""

    flat: LabelColumn
    """Single labels of all rows, one after another."""
    rows: Sequence[int]
    """Row of each single label."""
    empty: Sequence[bool]
    """Whether a row's cell is empty."""

    @classmethod
    def cut(cls, column: LabelColumn, cut: Callable[[str], Sequence[str]]) -> "_SetColumn":
        parts = [cut(cell) if cell else () for cell in column.cells]
        rows = [row for row, labels in enumerate(parts) for _ in labels]
        flat = [label for labels in parts for label in labels]
        if "" in flat:
            raise ValueError(
                f"{column.source}, {column.place(rows[flat.index('')])} names an empty label. Name "
                "it, or remove its place"
            )
        return cls(
            flat=replace(column, cells=flat, place=lambda at: column.place(rows[at])),
            rows=rows,
            empty=[not cell for cell in column.cells],
        )

    def gather(self, labels: Sequence[Label | None], count: int) -> list[Label | None]:
        """Return each row's labels, as 0 or 1 for each known label."""
        sets: list[list[int]] = [[0] * count for _ in self.empty]
        for row, label in zip(self.rows, labels, strict=True):
            if not isinstance(label, int):
                place = f"{self.flat.source}, {self.flat.place(self.rows.index(row))}"
                raise ValueError(f"{place} names a label that is none. Remove it")
            sets[row][label] = 1
        return [
            None if empty else tuple(flags) for empty, flags in zip(self.empty, sets, strict=True)
        ]


def _cutter(columns: Sequence[LabelColumn], config: DataConfig) -> Callable[[str], Sequence[str]]:
    """Return the only function that cuts all cells into sets of labels."""
    cells = {cell for column in columns for cell in column.cells if cell}
    known = {fold_label(name) for name in config.labels} | set(map(str, range(len(config.labels))))
    used = [each for each in _DELIMITERS if any(each in cell for cell in cells)]
    ways = [each for each in (None, *used) if _is_known(cells, each, known)]
    if len(ways) > 1:
        raise ValueError(
            f"the column {config.label!r} can be read in two ways. Its cells are names of "
            f"data.labels, and sets of names with {used[0]!r} between. Write lists, in a JSONL or "
            "Parquet file"
        )
    # Where no delimiter fits, cut at the commonest, so that the message names the unknown parts.
    commonest = max(used, key=lambda each: sum(each in cell for cell in cells), default=None)
    delimiter = ways[0] if ways else commonest
    if delimiter is not None:
        logger.info("data: the column %r holds labels with %r between", config.label, delimiter)
    return lambda cell: _parts(cell, delimiter)


def _is_known(cells: set[str], delimiter: str | None, known: set[str]) -> bool:
    return all(fold_label(part) in known for cell in cells for part in _parts(cell, delimiter))


def _parts(cell: str, delimiter: str | None) -> list[str]:
    return [cell] if delimiter is None else [part.strip() for part in cell.split(delimiter)]


def _as_list(cell: str) -> list[str] | None:
    """Return the values of a list that is written out, as spelled; None where it is no list."""
    values = read_nested(cell)
    if not isinstance(values, list):
        return None
    spelled = [str(each).lower() if isinstance(each, bool) else each for each in values]
    is_plain = all(isinstance(each, str | Number) for each in spelled)
    return [str(each).strip() for each in spelled] if is_plain else None


def _are_flags(
    lists: Mapping[str, Sequence[str]], columns: Sequence[LabelColumn], config: DataConfig
) -> bool:
    """Return whether lists hold 0 or 1 for each label, and not the labels that apply.

    Raises:
        ValueError: where some cells are no lists, or both readings are possible.
    """
    count, names = len(config.labels), {fold_label(name) for name in config.labels}
    for column in columns:
        for row, cell in enumerate(column.cells):
            if cell and cell not in lists:
                raise ValueError(
                    f"{column.source}, {column.place(row)} holds {cell[:60]!r}, where other cells "
                    "hold lists. Write a list everywhere, and [] where no label applies"
                )
    if names & FLAGS.keys() or any(column.own_names is not None for column in columns):
        return False
    hot = all(len(r) == count and {e.casefold() for e in r} <= FLAGS.keys() for r in lists.values())
    # A list of indices holds no index twice.
    twice = [cell for cell, row in lists.items() if _repeated(row, names)]
    if hot and twice:
        logger.info(
            "data: lists of the column %r are read as 0 or 1 for each label, in the order of "
            "data.labels",
            config.label,
        )
        return True
    if hot or twice:
        cell = (twice or list(lists))[0]
        column = next(each for each in columns if cell in each.cells)
        raise ValueError(
            f"the lists of the column {config.label!r} may hold indices, or flags (0, 1) of the "
            f"{count} names in data.labels (first {cell[:60]} in {column.source}, "
            f"{column.place(list(column.cells).index(cell))}). Write the names that apply"
        )
    return False


def _repeated(row: Sequence[str], names: set[str]) -> bool:
    """Return whether a list repeats a value that is no label's name."""
    strange = [each for each in row if fold_label(each) not in names]
    return len(set(strange)) < len(strange)


def propose_sets(columns: Sequence[Column], given: Given) -> Proposal:
    """Return how to read a table for sets of labels.

    Raises:
        UnfitError: where the columns are not certain.
    """
    text, assumed = find_texts(columns, given)
    rest = without(columns, text)
    if len(given.label) > 1:
        names = tuple(named(rest, name, LABEL).name for name in given.label)
        return Proposal(text=text, label=names, assumed=assumed)
    flags = [] if given.label else [each.name for each in rest if is_flag(each)]
    fitting = [each for each in rest if _parts_of(each)]
    if len(flags) > 1 and not fitting:
        listed = ", ".join(map(repr, flags))
        said = f"each of the columns {listed} holds 0 and 1 for the label of its name"
        return Proposal(text=text, label=tuple(flags), assumed=(*assumed, said))
    more: tuple[str, ...] = ()
    if given.label:
        label = named(rest, given.label[0], LABEL)
    else:
        wanted = "lists of names, or names with one delimiter between"
        label, more = choose(replace(LABEL, usual="labels"), rest, fitting, wanted)
    if not (parts := label.own_names or _parts_of(label)):
        raise UnfitError(
            f"The column {label.name!r} holds no sets of labels: lists of names, or names with "
            "one delimiter between. Name another one with --label."
        )
    check_names(parts, fold_label, label.name)
    return Proposal(text=text, label=(label.name,), labels=parts, assumed=(*assumed, *more))


def _parts_of(column: Column) -> tuple[str, ...] | None:
    """Return the labels of a column of sets; None where the column holds no sets."""
    if column.lists is not None:
        cells = [each for row in column.lists for each in row]
        parts = {str(each) for each in cells}
        is_plain = all(isinstance(each, str | int | Number) for each in cells)
        are_flags = {part.casefold() for part in parts} <= FLAGS.keys()
        return in_order(parts) if parts and is_plain and not are_flags else None
    values = column.values or ()
    ways = []
    for delimiter in _DELIMITERS:
        parts = {part for value in values for part in _parts(value, delimiter)}
        repeats = len(parts) * _FEWEST_PER_PART <= len(values)
        if any(delimiter in value for value in values) and repeats and "" not in parts:
            ways.append(in_order(parts))
    return ways[0] if len(ways) == 1 and len(ways[0]) > 1 else None


def _read_flags(columns: Sequence[LabelColumn], names: Sequence[str]) -> list[Label | None]:
    """Return the label sets of a source with one column per label."""
    sets: list[Label | None] = []
    for row, cells in enumerate(zip(*(column.cells for column in columns), strict=True)):
        flags = [FLAGS.get(cell.casefold()) for cell in cells]
        if not any(cells):
            sets.append(None)
        elif None in flags:
            wrong = flags.index(None)
            raise ValueError(
                f"the column {names[wrong]!r} holds {cells[wrong]!r}, expected 0 or 1 (first in "
                f"{columns[0].source}, {columns[0].place(row)}). Correct it, or give one column of "
                "label names"
            )
        else:
            sets.append(tuple(flag for flag in flags if flag is not None))
    return sets
