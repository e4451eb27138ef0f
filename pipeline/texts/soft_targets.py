"""Soft targets: a teacher's outputs on texts, in shards that are mapped into memory.

They are kept under the digest of their text, never under their position. No shuffling, resuming or
reordering of the data can therefore give a text another text's targets.

Shapes: N = texts, T = tokens, C = outputs per text or token.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.errors import refusing
from pipeline.texts.mapped import WIDTH, NumberLists, TableWriter, as_lists, map_table, width_of
from pipeline.texts.seen import digests_of
from pipeline.texts.tables import Text

_KEY, _OUTPUTS = "key", "outputs"


def write_soft_targets(
    texts: Sequence[Text], outputs: np.ndarray, folder: Path, *, shard: int = 0
) -> None:
    """Write a teacher's outputs on some texts, (N, C) or (N, T, C), whole or not at all.

    Values that are NaN behind a text's last token are left out.
    """
    is_ragged = outputs.ndim == 3
    rows = [_without_padding(row) if is_ragged else row for row in outputs]
    keys = pa.array(digests_of(texts).tolist(), pa.binary())
    table = pa.table({_KEY: keys, _OUTPUTS: as_lists(rows, np.float32)})
    width = str(outputs.shape[-1] if is_ragged else 0)
    with TableWriter(shard_path(folder, shard)) as writer:
        writer.write(table.replace_schema_metadata({WIDTH: width}))


def holds_soft_targets(texts: Sequence[Text], folder: Path, *, shard: int) -> bool:
    """Return whether a shard is there and holds the outputs on exactly these texts."""
    path = shard_path(folder, shard)
    if not path.is_file():
        return False
    found = map_table(path).column(_KEY).to_pylist()
    return bool(np.array_equal(np.array(found, dtype="S16"), digests_of(texts)))


def shard_path(folder: Path, shard: int) -> Path:
    """Return the file of a shard."""
    return folder / f"soft_targets-{shard:05d}.arrow"


def count_outputs(folder: Path) -> int:
    """Return C."""
    table = map_table(shard_path(folder, 0))
    return width_of(table) or len(NumberLists(table.column(_OUTPUTS))[0])


class SoftTargets:
    """All shards of a folder."""

    def __init__(self, folder: Path) -> None:
        with refusing(f"Cannot read the soft targets in {folder}", "Run the stage again."):
            paths = sorted(folder.glob("soft_targets-*.arrow"))
            table = pa.concat_tables([map_table(path) for path in paths])
        keys = np.concatenate(
            [np.array(part.to_pylist(), dtype="S16") for part in table.column(_KEY).chunks]
        )
        self.rows = np.argsort(keys, kind="stable")
        self.keys = keys[self.rows]  # sorted
        self.outputs = NumberLists(table.column(_OUTPUTS))
        self.width = width_of(table)  # C where each token has outputs, else 0

    def of(self, texts: Sequence[Text], *, tokens: int = 0) -> np.ndarray:
        """Return the teacher's outputs on texts, (N, C) or (N, T, C) float32.

        Args:
            texts: In any order.
            tokens: T at least; what is behind a text's last token is NaN.

        Raises:
            KeyError: for a text whose targets were not written.
        """
        wanted = digests_of(texts)
        places = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        missing = np.flatnonzero(self.keys[places] != wanted)
        if len(missing):
            raise KeyError(texts[int(missing[0])])
        found = [self.outputs[row] for row in self.rows[places].tolist()]
        if not self.width:
            return np.array(found, dtype=np.float32)
        longest = max([tokens, *(len(row) // self.width for row in found)])
        whole = np.full((len(found), longest, self.width), np.nan, dtype=np.float32)
        for row, numbers in zip(whole, found, strict=True):
            row[: len(numbers) // self.width] = numbers.reshape(-1, self.width)
        return whole


def read_soft_targets(folder: Path, texts: Sequence[Text]) -> np.ndarray:
    """Return a teacher's outputs on these texts, as `SoftTargets.of` does.

    Raises:
        KeyError: for a text whose targets were not written.
    """
    return SoftTargets(folder).of(texts)


def _without_padding(row: np.ndarray) -> np.ndarray:
    """Return the outputs of a text's tokens, (T, C), up to the last one that has any."""
    real = np.flatnonzero(~np.isnan(row).all(axis=1))
    return row[: real[-1] + 1] if len(real) else row[:0]
