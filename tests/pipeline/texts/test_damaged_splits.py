"""Every damage of a data folder ends in one clear error, or does no harm."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.damage import damages, problems

from pipeline.config import DataConfig
from pipeline.errors import InputError
from pipeline.texts.splits import LEFT_OUT, SPLITS, hold_out
from pipeline.texts.tables import Split, read_split, write_split

TEXTS, LABELS = pa.array(["a", "b"]), pa.array([0, 1])


@pytest.fixture
def folder(tmp_path):
    """A folder with every split of ten texts."""
    folder = tmp_path / "data"
    folder.mkdir()
    for name in (*SPLITS, LEFT_OUT):
        texts = tuple((f"{name} {number}",) for number in range(10))
        write_split(Split(texts=texts, labels=np.arange(10) % 2), folder / f"{name}.parquet")
    return folder


def keep_splits_of(folder):
    """Read a folder as ``data.splits_of`` does."""
    rows = [((f"text {number}",), number % 2) for number in range(40)]
    sizes = {"validation_size": 10, "test_size": 10}
    config = DataConfig(train="t.csv", labels=("no", "yes"), splits_of=str(folder), **sizes)
    return hold_out({"train": rows}, config, 0)


def test_damaged_splits_are_refused_or_harmless(folder, tmp_path):
    def read(copy):
        keep_splits_of(copy)
        for name in SPLITS:
            read_split(copy, name)

    chosen = (each for seed in range(10) for each in damages(folder, seed=seed))
    assert problems(folder, tmp_path, read, chosen=chosen) == []


@pytest.mark.parametrize(
    "columns",
    [
        {},
        {"label": LABELS},
        {"text": TEXTS},
        {"label": LABELS, "text": TEXTS},
        {"texts": TEXTS, "label": LABELS},
        {"text": LABELS, "label": LABELS},
        {"text": TEXTS, "label": TEXTS},
        {"text": TEXTS, "label": pa.array([0.0, float("nan")])},
        {"text": TEXTS, "label": pa.array([0, None])},
        {"text": pa.array(["a", None]), "label": LABELS},
        {"text": pa.array([["a"], ["b"]]), "label": LABELS},
        {"text": TEXTS, "text_b": TEXTS, "text_c": TEXTS, "label": LABELS},
    ],
)
def test_table_with_other_columns_is_refused(folder, columns):
    pq.write_table(pa.table(columns), folder / "test.parquet")

    with pytest.raises(InputError, match=f"{folder / 'test.parquet'} is not a split"):
        read_split(folder, "test")
    with pytest.raises(InputError, match=r"data\.splits_of = .* is not a split"):
        keep_splits_of(folder)
