import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.texts.soft_targets import (
    SoftTargets,
    count_outputs,
    holds_soft_targets,
    read_soft_targets,
    shard_path,
    write_soft_targets,
)

PAIRS = (("a", "b"), ("b", "a"))
LOGITS = np.array([[0.1, -2.5, 7.0], [1.0, 2.0, 3.0]], dtype=np.float32)


def test_soft_targets_are_found_by_text_in_any_order(tmp_path):
    write_soft_targets([("a",), ("b",)], LOGITS, tmp_path)

    found = read_soft_targets(tmp_path, [("b",), ("a",), ("b",)])

    assert found.dtype == np.float32
    assert np.array_equal(found, LOGITS[[1, 0, 1]])


def test_soft_targets_of_a_pair_depend_on_its_order(tmp_path):
    write_soft_targets(PAIRS, LOGITS, tmp_path)

    assert np.array_equal(read_soft_targets(tmp_path, [("b", "a")]), LOGITS[[1]])


def test_text_without_soft_targets_is_refused(tmp_path):
    write_soft_targets([("a",), ("b",)], LOGITS, tmp_path)

    with pytest.raises(KeyError):
        read_soft_targets(tmp_path, [("a",), ("c",)])


def test_soft_targets_of_all_shards_are_found(tmp_path):
    write_soft_targets([("a",), ("b",)], LOGITS, tmp_path)
    write_soft_targets([("c",)], 2 * LOGITS[:1], tmp_path, shard=1)

    found = read_soft_targets(tmp_path, [("c",), ("a",), ("b",)])

    assert np.array_equal(found, [2 * LOGITS[0], *LOGITS])
    assert count_outputs(tmp_path) == 3


def test_outputs_of_tokens_take_no_room_behind_a_texts_last_one(tmp_path):
    outputs = np.full((2, 50, 3), np.nan, dtype=np.float32)
    outputs[0, :4] = np.arange(12).reshape(4, 3)
    outputs[1, 0], outputs[1, 2] = LOGITS
    write_soft_targets([("a",), ("b",)], outputs, tmp_path)

    targets = SoftTargets(tmp_path)

    assert np.array_equal(targets.of([("b",), ("a",)]), outputs[::-1, :4], equal_nan=True)
    assert np.array_equal(targets.of([("b",)], tokens=50), outputs[1:], equal_nan=True)
    assert targets.outputs.lengths.tolist() == [12, 9]
    assert count_outputs(tmp_path) == 3


def test_shard_is_known_by_its_texts(tmp_path):
    write_soft_targets([("a",), ("b",)], LOGITS, tmp_path)

    assert holds_soft_targets([("a",), ("b",)], tmp_path, shard=0)
    assert not holds_soft_targets([("a",), ("c",)], tmp_path, shard=0)
    assert not holds_soft_targets([("a",), ("b",)], tmp_path, shard=1)


def test_failed_write_leaves_no_shard(tmp_path):
    with pytest.raises(ValueError, match="length"):
        write_soft_targets([("a",)], LOGITS, tmp_path)

    assert not shard_path(tmp_path, 0).exists()


def test_folder_without_soft_targets_is_refused(tmp_path):
    with pytest.raises(InputError, match="Cannot read the soft targets in"):
        SoftTargets(tmp_path)
