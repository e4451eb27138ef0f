"""Arrow files that are mapped into memory: a row is read from disk when it is looked at.

Shapes: N = rows, L = numbers of a row.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import pyarrow as pa

from pipeline.errors import refusing
from pipeline.texts.tables import Text

WIDTH = "width"
"""Metadata of a file: numbers per token of lists that hold those of all tokens; 0 for others."""
_PART = 10_000
"""Texts that exist as Python's strings at once."""


# Any: pyarrow has no types.
def map_table(path: Path) -> Any:
    """Return the table of an Arrow file.

    Raises:
        InputError: for a damaged file.
    """
    with refusing(f"Cannot read the file {path}", "Run the stage again."):
        return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


class TableWriter:
    """Writes tables to an Arrow file, of which readers see nothing before the end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.partial = path.with_name(f"{path.name}.partial")
        self.writer: Any = None  # pyarrow has no types

    def __enter__(self) -> "TableWriter":
        """Return this writer."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Give the file its name; after an exception, remove it."""
        if self.writer is None:  # nothing was written
            return
        self.writer.close()
        if kind is None:
            self.partial.replace(self.path)
        else:
            self.partial.unlink()

    # Any: as above.
    def write(self, table: Any) -> None:
        """Append rows; the first ones say the columns, their types and the file's metadata."""
        if self.writer is None:
            self.writer = pa.ipc.new_file(str(self.partial), table.schema)
        self.writer.write_table(table)


# Any: as above.
def width_of(table: Any) -> int:
    """Return the numbers per token that a table's metadata say."""
    return int((table.schema.metadata or {}).get(WIDTH.encode(), b"0"))


# Any: as above.
def as_lists(rows: Sequence[Any], kind: type[np.generic]) -> Any:
    """Return arrays or lists of numbers as a column of flat lists."""
    flat = [np.asarray(row, dtype=kind).ravel() for row in rows]
    ends = np.cumsum([0, *map(len, flat)])
    values = np.concatenate(flat) if flat else np.zeros(0, dtype=kind)
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), pa.array(values))


class NumberLists(Sequence[np.ndarray]):
    """A column of lists of numbers: each row is an array that is mapped, (L,)."""

    # Any: as above.
    def __init__(self, column: Any) -> None:
        self.parts = [(each.offsets.to_numpy(), each.values.to_numpy()) for each in column.chunks]
        self.starts = np.cumsum([0, *map(len, column.chunks)]).tolist()

    def __len__(self) -> int:
        """Return the number of rows."""
        return int(self.starts[-1])

    @overload
    def __getitem__(self, at: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[np.ndarray]: ...
    def __getitem__(self, at: int | slice) -> np.ndarray | Sequence[np.ndarray]:
        """Return a row, or some."""
        if isinstance(at, slice):
            return [self[row] for row in range(*at.indices(len(self)))]
        if not 0 <= at < len(self):
            raise IndexError(at)
        part = bisect_right(self.starts, at) - 1
        (ends, values), own = self.parts[part], at - self.starts[part]
        row: np.ndarray = values[ends[own] : ends[own + 1]]
        return row

    @property
    def lengths(self) -> np.ndarray:
        """Numbers of each row, (N,)."""
        return np.concatenate([np.diff(ends) for ends, _ in self.parts] or [np.zeros(0, np.int32)])


class StoredTexts(Sequence[Text]):
    """Texts of an Arrow table, which become Python's strings when they are asked for."""

    # Any: as above.
    def __init__(self, table: Any) -> None:
        self.table = table

    def __len__(self) -> int:
        """Return the number of texts."""
        return int(self.table.num_rows)

    @overload
    def __getitem__(self, at: int) -> Text: ...
    @overload
    def __getitem__(self, at: slice) -> "StoredTexts": ...
    def __getitem__(self, at: int | slice) -> "Text | StoredTexts":
        """Return a text, or some neighbours, still stored."""
        if isinstance(at, slice):
            start, stop, _ = at.indices(len(self))
            return StoredTexts(self.table.slice(start, max(0, stop - start)))
        if not 0 <= at < len(self):
            raise IndexError(at)
        return tuple(column[at].as_py() for column in self.table.columns)

    def __iter__(self) -> Iterator[Text]:
        """Yield the texts, in their order."""
        for start in range(0, len(self), _PART):
            part = self.table.slice(start, _PART)
            yield from zip(*(column.to_pylist() for column in part.columns), strict=True)

    def and_then(self, others: "StoredTexts") -> "StoredTexts":
        """Return these texts and then others."""
        return StoredTexts(pa.concat_tables([self.table, others.table]))


def store_texts(texts: Sequence[Text]) -> StoredTexts:
    """Return texts in Arrow's memory, where they take little more than their bytes."""
    return StoredTexts(text_table(texts, len(texts[0]) if texts else 1))


# Any: as above.
def text_table(texts: Sequence[Text], columns: int) -> Any:
    """Return texts as a table with the columns ``text`` and, for pairs, ``text_b``."""
    parts = list(zip(*texts, strict=True)) or [()] * columns
    names = ["text", "text_b"][:columns]
    return pa.table({n: pa.array(part, pa.string()) for n, part in zip(names, parts, strict=True)})
