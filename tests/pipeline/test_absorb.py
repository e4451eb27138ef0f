import dataclasses
from functools import partial

import numpy as np
import pytest
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification

from models.objective import SINGLE_LABEL as OBJECTIVE
from models.student import adapter_traces, take_head
from pipeline.absorb import absorb
from pipeline.checkpoints import Checkpoint, load_classifier, load_tokenizer
from pipeline.config import AbsorbConfig
from pipeline.encoding import encode, predict_logits
from pipeline.errors import InputError
from pipeline.records import AbsorbFacts
from pipeline.tables import Split, read_soft_targets, read_split, write_split


def test_result_is_a_stock_model_without_traces_of_adapters(tiny_absorbed, tiny_backbone):
    model = AutoModelForSequenceClassification.from_pretrained(tiny_absorbed.folder)
    stock = AutoModelForSequenceClassification.from_pretrained(tiny_backbone.folder)

    assert adapter_traces(model) == []
    assert {n: t.shape for n, t in model.state_dict().items()} == {
        n: t.shape for n, t in stock.state_dict().items()
    }


def test_every_site_of_every_layer_is_fitted(tiny_absorbed):
    sites = [(fit.layer, fit.site) for fit in tiny_absorbed.facts.sites]

    assert sites == [(0, "attention"), (0, "ffn"), (1, "attention"), (1, "ffn")]
    assert tiny_absorbed.facts.texts == 72


def test_absorbed_student_is_closer_to_the_teacher_than_the_backbone(
    tiny_absorbed, tiny_backbone, tiny_teacher, tiny_data, tiny_targets
):
    texts = read_split(tiny_data.folder, "validation").texts
    tokenizer = load_tokenizer(tiny_backbone, max_length=16)
    examples = encode(tokenizer, texts, max_length=16)
    teacher = read_soft_targets(tiny_targets.folder, texts)

    def distance(checkpoint):
        model = load_classifier(checkpoint, OBJECTIVE, labels=tiny_data.facts.labels, seed=0)
        take_head(model, load_file(tiny_teacher.folder / "teacher.safetensors"))
        return np.abs(predict_logits(model, tokenizer, examples) - teacher).mean()

    absorbed = Checkpoint(folder=tiny_absorbed.folder, digest="")
    assert distance(absorbed) < distance(tiny_backbone)


def test_too_few_texts_are_refused(finish, tiny_data, tiny_teacher, tiny_backbone, tmp_path):
    write_split(Split(texts=(("good film",),), labels=np.array([1])), tmp_path / "train.parquet")
    build = partial(
        absorb,
        dataclasses.replace(tiny_data, folder=tmp_path),
        tiny_teacher,
        tiny_backbone,
        AbsorbConfig(),
        objective=OBJECTIVE,
        max_length=16,
        seed=0,
    )

    with pytest.raises(InputError, match="at least 8 texts, found 1"):
        finish("absorb", build, AbsorbFacts)
