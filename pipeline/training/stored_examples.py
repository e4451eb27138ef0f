"""Examples on disk: as many as there are, and in memory those alone that are looked at."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import pyarrow as pa

from pipeline.texts.mapped import WIDTH, NumberLists, TableWriter, as_lists, map_table, width_of
from pipeline.training.encoding import Example

_LABELS = "labels"


class StoredExamples(Sequence[Example]):
    """Examples of a file that `store_examples` wrote."""

    def __init__(self, path: Path) -> None:
        table = map_table(path)
        self.columns = {name: NumberLists(table.column(name)) for name in table.column_names}
        self.width = width_of(table)
        self.lengths = self.columns["input_ids"].lengths

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.lengths)

    @overload
    def __getitem__(self, at: int) -> Example: ...
    @overload
    def __getitem__(self, at: slice) -> list[Example]: ...
    def __getitem__(self, at: int | slice) -> Example | list[Example]:
        """Return an example, or some: lists of ids, and an array of labels."""
        if isinstance(at, slice):
            return [self[row] for row in range(*at.indices(len(self)))]
        found: Example = {}
        for name, column in self.columns.items():
            numbers = column[at]
            if name != _LABELS:
                found[name] = numbers.tolist()
            else:
                found[name] = numbers.reshape(-1, self.width) if self.width else numbers
        return found


def store_examples(parts: Iterable[Sequence[Example]], path: Path) -> StoredExamples:
    """Write examples, of which at least one has to be there; return them, mapped.

    Labels, where there are some, are arrays of numbers, or of a row of numbers for each token.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with TableWriter(path) as writer:
        for examples in parts:
            writer.write(_as_table(examples))
    return StoredExamples(path)


# Any: pyarrow has no types.
def _as_table(examples: Sequence[Example]) -> Any:
    width = 0
    columns = {}
    for name in examples[0]:
        rows = [example[name] for example in examples]
        columns[name] = as_lists(rows, np.float32 if name == _LABELS else np.int32)
        if name == _LABELS and rows[0].ndim > 1:
            width = rows[0].shape[1]
    return pa.table(columns).replace_schema_metadata({WIDTH: str(width)})
