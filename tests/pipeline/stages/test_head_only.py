import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from models.losses import CLASSIFICATION_OBJECTIVE as OBJECTIVE
from models.teacher import backbone_digest
from pipeline.checkpoints.pretrained import find_checkpoint
from pipeline.checkpoints.teachers import load_teacher
from pipeline.checkpoints.tokenizers import load_tokenizer
from pipeline.checkpoints.weights import load_model
from pipeline.config import HeadOnlyConfig, ModelConfig
from pipeline.errors import InputError
from pipeline.facts.training import TeacherFacts
from pipeline.stages.head_only import HeadOnlySettings, head_only
from pipeline.store.step import step
from pipeline.store.store import Store
from pipeline.tasks.classification import CLASSIFICATION as TASK
from pipeline.texts.tables import read_split
from pipeline.training.encoding import compute_outputs, encode


@pytest.fixture(scope="module")
def run_head_only(tiny_store, tiny_data, tiny_context):
    """``run_head_only(checkpoint=..., store=..., **settings)``: the finished stage."""

    def run_head_only(*, checkpoint=tiny_context.backbone, store=tiny_store, **training):
        settings = HeadOnlySettings(
            context=replace(tiny_context, backbone=checkpoint), training=HeadOnlyConfig(**training)
        )
        return store.ensure(
            step("head-only", head_only, tiny_data, settings=settings, facts=TeacherFacts)
        )

    return run_head_only


def test_the_head_alone_trains(tiny_head_only, tiny_backbone, tiny_data):
    facts = tiny_head_only.facts
    before = load_model(tiny_backbone, OBJECTIVE, labels=tiny_data.facts.labels, seed=0)
    tensors = load_file(tiny_head_only.folder / "teacher.safetensors")

    assert facts.adapter is None
    assert facts.adapter_parameters == 0
    assert facts.trainable_parameters == facts.head_parameters
    assert facts.backbone_sha256 == backbone_digest(before)
    assert not torch.equal(tensors["classifier.weight"], before.classifier.weight)
    assert not torch.equal(tensors["bert.pooler.dense.weight"], before.bert.pooler.dense.weight)


def test_whole_model_measures_what_the_features_promised(tiny_head_only, tiny_backbone, tiny_data):
    model = load_teacher(tiny_backbone, tiny_head_only.folder)
    tokenizer = load_tokenizer(tiny_backbone, max_length=16)
    split = read_split(tiny_data.folder, "validation")

    logits = compute_outputs(
        model, OBJECTIVE, tokenizer, encode(tokenizer, split.texts, max_length=16)
    )

    outcome = tiny_head_only.facts.outcome
    best = next(point for point in outcome.curve if point.step == outcome.best_step)
    found = TASK.metrics(logits, np.asarray(split.labels))
    assert found["accuracy"] == pytest.approx(best.validation["accuracy"])
    assert outcome.best_metric == best.validation["accuracy"]


def test_training_lowers_the_loss(tiny_head_only):
    curve = tiny_head_only.facts.outcome.curve

    assert curve[-1].train_loss < curve[0].train_loss


def test_texts_and_epochs_set_the_steps(run_head_only):
    assert run_head_only(texts=20, epochs=3, batch_size=8).facts.outcome.steps == 9


def test_same_seed_gives_the_same_head(run_head_only, tmp_path):
    stores = [Store(root=tmp_path / name) for name in ("first", "second")]
    first, second = (
        load_file(run_head_only(texts=20, epochs=2, store=store).folder / "teacher.safetensors")
        for store in stores
    )

    assert all(torch.equal(first[name], second[name]) for name in first)


def test_unknown_architecture_is_refused_naming_the_known_ones(
    tiny_classifier, tiny_checkpoint, run_head_only, tmp_path
):
    folder = tmp_path / "megatron-bert"
    shutil.copytree(tiny_checkpoint, folder)
    tiny_classifier("megatron-bert", num_labels=2).save_pretrained(folder)

    with pytest.raises(InputError, match=r"teacher\.model: .*megatron-bert.*bert.*distilbert"):
        run_head_only(
            checkpoint=find_checkpoint(ModelConfig(model=str(folder))),
            store=Store(root=tmp_path / "stages"),
        )
