"""Labels of a regression as the sources spell them: finite numbers."""

import math
from collections.abc import Sequence

from pipeline.config import DataConfig
from pipeline.tasks.columns import (
    Column,
    Given,
    Proposal,
    UnfitError,
    find_label,
    find_texts,
    number_of,
    without,
)
from pipeline.tasks.task import LabelColumn
from pipeline.texts.cells import Label

_FEWEST_NUMBERS = 3
"""Fewest distinct numbers of a label; a column of fewer is a yes or no."""
_LARGEST = 1e30
"""Largest absolute value of a label, so that float32 holds everything that training computes."""


def read_numbers(columns: Sequence[LabelColumn], config: DataConfig) -> list[list[Label | None]]:
    """Return the number of every cell of every source; None for an empty cell.

    Raises:
        ValueError: for cells that are no finite numbers.
    """
    labels = [[number_of(cell) if cell else None for cell in column.cells] for column in columns]
    wrong = [
        (column.cells[row], f"{column.source}, {column.place(row)}")
        for column, numbers in zip(columns, labels, strict=True)
        for row, number in enumerate(numbers)
        if number is not None and not abs(number) <= _LARGEST  # NaN neither
    ]
    if wrong:
        cells = sorted({cell for cell, _ in wrong})
        first, place = wrong[0]
        raise ValueError(
            f"the column {config.label!r} holds {', '.join(map(repr, cells[:10]))}, which is no "
            f"finite number up to {_LARGEST:g} (first: {first!r} in {place}). Write numbers with a "
            "decimal point, or filter the rows out"
        )
    return [list(numbers) for numbers in labels]


def propose_number(columns: Sequence[Column], given: Given) -> Proposal:
    """Return how to read a table for a regression.

    Raises:
        UnfitError: where the columns are not certain.
    """
    text, assumed = find_texts(columns, given)
    label, more = find_label(
        without(columns, text), given, _is_rating, "numbers, at least three different ones"
    )
    if not (values := label.values) or not all(map(math.isfinite, map(number_of, values))):
        raise UnfitError(
            f"The column {label.name!r} holds other values than finite numbers. Name another one "
            "with --label."
        )
    return Proposal(text=text, label=(label.name,), assumed=(*assumed, *more))


def _is_rating(column: Column) -> bool:
    """Return whether a column holds numbers that are neither flags nor row numbers."""
    numbers = [number_of(value) for value in column.values or ()]
    if not numbers or not all(map(math.isfinite, numbers)):
        return False
    distinct = len(set(numbers))
    counts_rows = distinct == len(numbers) == max(numbers) - min(numbers) + 1
    return distinct >= _FEWEST_NUMBERS and not counts_rows and column.own_names is None
