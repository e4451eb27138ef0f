import numpy as np
import pytest

from pipeline.texts.tables import Split, read_split, write_split

SINGLE = Split(texts=(("a",), ("b, “c”\n",), ("a",)), labels=np.array([1, 0, 1]))
PAIRS = Split(texts=(("a", "b"), ("b", "a")), labels=np.array([0, 2]))
SETS = Split(texts=(("a",), ("b",)), labels=np.array([[1, 0, 1], [0, 0, 0]]))


@pytest.mark.parametrize("split", [SINGLE, PAIRS, SETS], ids=["single", "pairs", "sets"])
def test_split_survives_writing(tmp_path, split):
    write_split(split, tmp_path / "test.parquet")

    found = read_split(tmp_path, "test")

    assert found.texts == split.texts
    assert found.labels.dtype == np.int64
    assert found.labels.tolist() == split.labels.tolist()


@pytest.mark.parametrize(("size", "expected"), [(None, 3), (0, 0), (2, 2), (9, 3)])
def test_head_is_the_first_examples(size, expected):
    head = SINGLE.head(size)

    assert len(head) == expected
    assert head.texts == SINGLE.texts[:expected]
    assert head.labels.tolist() == SINGLE.labels[:expected].tolist()
