from functools import partial

import numpy as np
import pytest

from models.losses import SINGLE_LABEL as OBJECTIVE
from pipeline.checkpoints.pretrained import load_tokenizer
from pipeline.checkpoints.teachers import load_teacher
from pipeline.facts.training import SoftTargetFacts
from pipeline.stages.soft_targets import compute_soft_targets
from pipeline.texts.tables import read_soft_targets, read_split
from pipeline.training.encoding import encode, predict_logits


@pytest.mark.parametrize("split", ["train", "validation"])
def test_targets_are_the_teachers_logits(
    tiny_targets, tiny_data, tiny_teacher, tiny_backbone, split
):
    texts = read_split(tiny_data.folder, split).texts
    tokenizer = load_tokenizer(tiny_backbone, max_length=16)
    teacher = load_teacher(tiny_backbone, tiny_teacher.folder, OBJECTIVE)
    expected = predict_logits(teacher, tokenizer, encode(tokenizer, texts, max_length=16))

    found = read_soft_targets(tiny_targets.folder, texts)

    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_all_texts_are_counted(tiny_targets):
    assert tiny_targets.facts == SoftTargetFacts(texts=72 + 24, classes=2)


def test_fewer_training_texts_leave_all_of_the_validation_texts(
    finish, tiny_data, tiny_teacher, tiny_backbone
):
    build = partial(
        compute_soft_targets,
        tiny_data,
        tiny_teacher,
        tiny_backbone,
        objective=OBJECTIVE,
        texts=10,
        max_length=16,
    )

    targets = finish("soft-targets", build, SoftTargetFacts)

    assert targets.facts.texts == 10 + 24
    assert read_soft_targets(
        targets.folder, read_split(tiny_data.folder, "validation").texts
    ).shape == (24, 2)
