import logging
from dataclasses import replace

import numpy as np
import pytest

from pipeline.checkpoints.context import ModelContext
from pipeline.checkpoints.pretrained import find_checkpoint
from pipeline.checkpoints.tokenizers import encoder_of, load_tokenizer
from pipeline.config import ModelConfig
from pipeline.facts.compute import Compute
from pipeline.tasks.all_tasks import find_task
from pipeline.texts.tables import Split
from pipeline.training.truncation import measure_truncation


@pytest.fixture(scope="module")
def context(tiny_checkpoint):
    return ModelContext(
        backbone=find_checkpoint(ModelConfig(model=str(tiny_checkpoint))),
        task=find_task("classification"),
        max_length=8,
        seed=0,
        compute=Compute(),
    )


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize(
    ("texts", "cut"),
    [
        ([("a",), ("good " * 6,), ("good " * 7,), ("good " * 50,)], 2),
        ([("good film " * 5000,), ("a",)], 1),
        ([("good " * 3, "bad " * 2), ("good " * 3, "bad " * 3), ("good", "bad " * 90)], 2),
        ([("a",)], 0),
    ],
    ids=["single", "cut at a seam", "pairs", "short"],
)
def test_texts_that_are_cut_are_counted_and_logged(context, texts, cut, side, caplog):
    """Eight tokens, of them two around a text and three around a pair."""
    caplog.set_level(logging.INFO)
    tokenizer = load_tokenizer(context.backbone, max_length=8)
    tokenizer.truncation_side = side
    split = Split(texts=tuple(texts), labels=np.zeros(len(texts), dtype=np.int64))

    found = measure_truncation(tokenizer, {"train": split}, context)

    assert (found.texts, found.max_length) == ({"train": cut}, 8)
    assert (f"train: {cut} of {len(texts)} texts" in caplog.text) == (cut > 0)


def test_marks_are_those_of_a_tokenizer_that_reads_whole_texts(context):
    """Texts around the limit, and those that are cut at a seam before the tokenizer reads them."""
    encoder = encoder_of(load_tokenizer(context.backbone, max_length=8))
    texts = [("good " * count,) for count in (*range(1, 12), 100, 127, 128, 129, 1000)]

    marks = encoder.encode_marked(texts)[1]

    assert marks == replace(encoder, cuts=False).encode_marked(texts)[1]
    assert marks == [len(text.split()) + 2 > 8 for (text,) in texts]
