import logging

import pytest
from transformers import AutoTokenizer

from pipeline.training.encoding import encode
from pipeline.training.truncation import log_truncated


@pytest.fixture(scope="module")
def tokenizer(tiny_checkpoint):
    return AutoTokenizer.from_pretrained(tiny_checkpoint)


@pytest.mark.parametrize(
    ("texts", "cut"),
    [
        ([("a",), ("good " * 6,), ("good " * 7,), ("good " * 50,)], 2),
        ([("good " * 3, "bad " * 2), ("good " * 3, "bad " * 3)], 1),
        ([("a",)], 0),
    ],
    ids=["single", "pairs", "short"],
)
def test_texts_that_are_cut_are_counted_and_logged(tokenizer, texts, cut, caplog):
    """Eight tokens, of them two around a text and three around a pair."""
    caplog.set_level(logging.INFO)
    examples = encode(tokenizer, texts, max_length=8)

    assert log_truncated("train", tokenizer, texts, examples, max_length=8) == cut
    said = f"train: {cut} of {len(texts)} texts"
    assert (said in caplog.text) == (cut > 0)
