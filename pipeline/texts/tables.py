"""Splits of labelled texts, as the Parquet files that stages exchange."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import InputError, refusing
from pipeline.texts.cells import MISSING_LABEL, Label

Text = tuple[str, ...]
"""One text, or the two of a sentence pair."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """Texts and their labels, in a fixed order."""

    texts: tuple[Text, ...]
    labels: np.ndarray
    """(N,): int64 class indices, or float64 numbers; or (N, L), a row of int64 for each text."""

    def __len__(self) -> int:
        """Return the number of texts."""
        return len(self.texts)

    def head(self, size: int | None) -> "Split":
        """Return the first ``size`` examples; all of them for None."""
        return Split(texts=self.texts[:size], labels=self.labels[:size])


def stack_labels(labels: Sequence[Label], dtype: type[np.generic]) -> np.ndarray:
    """Return labels as one array, (N,) or (N, L); rows of unlike lengths end in -100."""
    rows = [label for label in labels if isinstance(label, tuple)]
    width = max(map(len, rows), default=0)
    padded = [(*row, *[MISSING_LABEL] * (width - len(row))) for row in rows]
    return np.array(padded or labels, dtype=dtype)


def write_split(split: Split, path: Path) -> None:
    """Write a split as Parquet with the columns ``text``, ``text_b`` (pairs) and ``label``.

    Labels (N, L) become lists of L numbers.
    """
    names = ["text", "text_b"][: len(split.texts[0])]
    columns = dict(zip(names, map(list, zip(*split.texts, strict=True)), strict=True))
    pq.write_table(pa.table({**columns, "label": _as_column(split.labels)}), path)


def read_split(folder: Path, name: str) -> Split:
    """Return ``train``, ``validation`` or ``test`` from the data stage's folder.

    Raises:
        InputError: when the file is missing, damaged, or holds other columns.
    """
    path = folder / f"{name}.parquet"
    advice = "Give the folder data of a finished run, or run it again."
    with refusing(f"Cannot read the split {path}", advice):
        table = pq.read_table(path)
    names = table.column_names
    is_split = (
        names in (["text", "label"], ["text", "text_b", "label"])
        and all(pa.types.is_string(table.schema.field(name).type) for name in names[:-1])
        and _is_number(table.schema.field("label").type)
        and not any(column.null_count for column in table.columns)
    )
    labels = _as_array(table.column("label")) if is_split else np.zeros(0)
    is_split = is_split and len(labels) == len(table) and bool(np.isfinite(labels).all())
    if not is_split:
        found = ", ".join(f"{field.name} ({field.type})" for field in table.schema)
        raise InputError(
            f"{path} is not a split: expected the columns text, text_b for pairs, and label (a "
            f"number, or as many for each text), without gaps, found {found or 'none'}. {advice}"
        )
    columns = [table.column(column).to_pylist() for column in names[:-1]]
    return Split(texts=tuple(zip(*columns, strict=True)), labels=labels)


# Any: pyarrow has no types.
def _is_number(kind: Any) -> bool:
    if pa.types.is_fixed_size_list(kind):
        kind = kind.value_type
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _as_column(array: np.ndarray) -> Any:
    """Return an array (N,) as it is, and one (N, L, ...) as N lists of L numbers, or of lists."""
    if array.ndim == 1:
        return array
    column = pa.array(array.ravel())
    for size in reversed(array.shape[1:]):
        column = pa.FixedSizeListArray.from_arrays(column, size)
    return column


def _as_array(column: Any) -> np.ndarray:
    """Return a column of numbers, (N,), or of lists of L numbers, (N, L), or of lists."""
    shape, kind, chunks = [len(column)], column.type, column.chunks
    while pa.types.is_fixed_size_list(kind):
        shape.append(kind.list_size)
        kind, chunks = kind.value_type, [chunk.flatten() for chunk in chunks]
    if len(shape) == 1:
        return np.asarray(column.to_numpy())
    # As one array: 1,000 outputs of 100,000 texts would be gigabytes of Python's numbers.
    return np.concatenate([chunk.to_numpy() for chunk in chunks]).reshape(shape)
