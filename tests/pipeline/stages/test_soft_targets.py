import numpy as np
import pytest

from models.losses import CLASSIFICATION_OBJECTIVE as OBJECTIVE
from pipeline.checkpoints.teachers import load_teacher
from pipeline.checkpoints.tokenizers import load_tokenizer
from pipeline.facts.training import SoftTargetFacts
from pipeline.stages import soft_targets
from pipeline.stages.soft_targets import SoftTargetSettings, compute_soft_targets
from pipeline.store.step import step
from pipeline.texts.soft_targets import read_soft_targets
from pipeline.texts.tables import read_split
from pipeline.training.encoding import compute_outputs, encode


@pytest.mark.parametrize("split", ["train", "validation"])
def test_targets_are_the_teachers_logits(
    tiny_targets, tiny_data, tiny_teacher, tiny_backbone, split
):
    texts = read_split(tiny_data.folder, split).texts
    tokenizer = load_tokenizer(tiny_backbone, max_length=16)
    teacher = load_teacher(tiny_backbone, tiny_teacher.folder)
    expected = compute_outputs(
        teacher, OBJECTIVE, tokenizer, encode(tokenizer, texts, max_length=16)
    )

    found = read_soft_targets(tiny_targets.folder, texts)

    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_all_texts_are_counted(tiny_targets):
    assert tiny_targets.facts == SoftTargetFacts(texts=72 + 24, outputs=2)


def test_killed_stage_keeps_its_whole_shards_and_gives_the_same(
    tiny_data, tiny_teacher, tiny_context, tmp_path, monkeypatch
):
    settings = SoftTargetSettings(context=tiny_context, texts=None, texts_per_shard=30)
    answered = []

    def counted(*arguments, **options):
        answered.append(len(arguments[3]))
        if len(answered) == 3:
            raise KeyboardInterrupt
        return compute_outputs(*arguments, **options)

    monkeypatch.setattr(soft_targets, "compute_outputs", counted)
    with pytest.raises(KeyboardInterrupt):
        compute_soft_targets(tiny_data, None, tiny_teacher, settings, tmp_path)

    facts = compute_soft_targets(tiny_data, None, tiny_teacher, settings, tmp_path)

    assert facts == SoftTargetFacts(texts=96, outputs=2)
    assert answered == [30, 30, 30, 30, 6]  # the third one twice
    assert sorted(path.name for path in tmp_path.glob("*.*")) == [
        f"soft_targets-0000{number}.arrow" for number in range(4)
    ]


def test_shards_of_any_size_hold_the_same_targets(
    tiny_targets, tiny_data, tiny_teacher, tiny_context, tmp_path
):
    settings = SoftTargetSettings(context=tiny_context, texts=None, texts_per_shard=7)
    compute_soft_targets(tiny_data, None, tiny_teacher, settings, tmp_path)
    texts = read_split(tiny_data.folder, "train").texts

    found, expected = (read_soft_targets(of, texts) for of in (tmp_path, tiny_targets.folder))

    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_fewer_training_texts_leave_all_of_the_validation_texts(
    tiny_store, tiny_data, tiny_teacher, tiny_context
):
    few = step(
        "soft-targets",
        compute_soft_targets,
        tiny_data,
        None,
        tiny_teacher,
        settings=SoftTargetSettings(context=tiny_context, texts=10),
        facts=SoftTargetFacts,
    )

    targets = tiny_store.ensure(few)

    assert targets.facts.texts == 10 + 24
    assert read_soft_targets(
        targets.folder, read_split(tiny_data.folder, "validation").texts
    ).shape == (24, 2)
