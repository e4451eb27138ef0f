import numpy as np
import pytest

from pipeline.texts.tables import (
    Split,
    read_soft_targets,
    read_split,
    write_soft_targets,
    write_split,
)

SINGLE = Split(texts=(("a",), ("b, “c”\n",), ("a",)), labels=np.array([1, 0, 1]))
PAIRS = Split(texts=(("a", "b"), ("b", "a")), labels=np.array([0, 2]))
SETS = Split(texts=(("a",), ("b",)), labels=np.array([[1, 0, 1], [0, 0, 0]]))
LOGITS = np.array([[0.1, -2.5, 7.0], [1.0, 2.0, 3.0]], dtype=np.float32)


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


def test_soft_targets_are_found_by_text_in_any_order(tmp_path):
    write_soft_targets([("a",), ("b",)], LOGITS, tmp_path)

    found = read_soft_targets(tmp_path, [("b",), ("a",), ("b",)])

    assert found.dtype == np.float32
    assert np.array_equal(found, LOGITS[[1, 0, 1]])


def test_soft_targets_of_a_pair_depend_on_its_order(tmp_path):
    write_soft_targets(PAIRS.texts, LOGITS, tmp_path)

    assert np.array_equal(read_soft_targets(tmp_path, [("b", "a")]), LOGITS[[1]])


def test_text_without_soft_targets_is_refused(tmp_path):
    write_soft_targets([("a",), ("b",)], LOGITS, tmp_path)

    with pytest.raises(KeyError):
        read_soft_targets(tmp_path, [("a",), ("c",)])
