import numpy as np
import pytest

from pipeline.training.stored_examples import store_examples

PLAIN = [{"input_ids": [5, 6], "attention_mask": [1, 1]}, {"input_ids": [7], "attention_mask": [1]}]


def labelled(*labels):
    return [
        {**example, "labels": np.array(label, dtype=np.float32)}
        for example, label in zip(PLAIN, labels, strict=True)
    ]


def test_examples_are_read_as_they_were(tmp_path):
    stored = store_examples([PLAIN, PLAIN[:1]], tmp_path / "new" / "examples.arrow")

    assert list(stored) == [*PLAIN, PLAIN[0]]
    assert stored[1:] == [PLAIN[1], PLAIN[0]]
    assert stored.lengths.tolist() == [2, 1, 2]


@pytest.mark.parametrize(
    "labels", [([0, 0.5], [1, -2.5]), ([[0, 0.5], [1, 2]], [[-100, np.nan]])], ids=["text", "token"]
)
def test_labels_keep_their_shape_and_bits(tmp_path, labels):
    examples = labelled(*labels)

    stored = store_examples([examples], tmp_path / "examples.arrow")

    for found, expected in zip(stored, examples, strict=True):
        assert found["labels"].dtype == np.float32
        np.testing.assert_array_equal(found["labels"], expected["labels"])
