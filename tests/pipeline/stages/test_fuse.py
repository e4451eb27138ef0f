from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from models.adapters.composition import Fuse, Weighted
from models.adapters.parameter_names import (
    is_adapter_parameter,
    is_composition_parameter,
    renamed_parameter,
)
from models.losses import CLASSIFICATION_OBJECTIVE as OBJECTIVE
from pipeline.checkpoints.adapter_folders import adapters_digest
from pipeline.checkpoints.teachers import TEACHER_TENSORS, load_teacher, read_teacher
from pipeline.checkpoints.tokenizers import load_tokenizer
from pipeline.config import AdapterConfig, AdapterSource, FuseConfig
from pipeline.errors import InputError
from pipeline.facts.training import TeacherFacts
from pipeline.stages.fuse import FuseSettings, fuse, penalised
from pipeline.store.step import step
from pipeline.store.store import Store
from pipeline.tasks.all_tasks import TASKS
from pipeline.tasks.classification import CLASSIFICATION as TASK
from pipeline.texts.tables import read_split
from pipeline.training.encoding import compute_outputs, encode

TRAINING = {"batch_size": 16, "learning_rate": 1e-2, "evaluations_per_epoch": 1}


@pytest.fixture(scope="module")
def other_teacher(tiny_finetune):
    """A second teacher, with adapters after the FFN alone."""
    return tiny_finetune(adapter=AdapterConfig(kind="pfeiffer", bottleneck_size=4), epochs=1)


@pytest.fixture(scope="module")
def fuse_tiny(tiny_store, tiny_data, tiny_head_only, tiny_context):
    """``fuse_tiny(references, together="fuse", context=..., store=..., **training)``: the stage."""

    def fuse_tiny(
        references,
        together="fuse",
        drop_layers=0,
        context=tiny_context,
        store=tiny_store,
        **training,
    ):
        source = AdapterSource.model_validate(
            {"from": references, "together": together, "drop_layers": drop_layers}
        )
        settings = FuseSettings(
            context=context,
            training=FuseConfig(**TRAINING | {"epochs": 2, "precision": "fp32"} | training),
            source=source,
            files=adapters_digest(source),
        )
        return store.ensure(
            step("fuse", fuse, tiny_data, tiny_head_only, settings=settings, facts=TeacherFacts)
        )

    return fuse_tiny


@pytest.fixture(scope="module")
def references(tiny_teacher, other_teacher):
    return {"reviews": str(tiny_teacher.folder), "other": str(other_teacher.folder)}


@pytest.fixture(scope="module")
def fused(fuse_tiny, references):
    return fuse_tiny(references)


def test_exactly_composition_and_head_train(fused):
    heads = ("bert.pooler.", "classifier.")
    names = fused.facts.trainable_names

    assert all(is_composition_parameter(n) or n.startswith(heads) for n in names)
    # Four sites of 32 x 32 queries, keys (with biases) and values.
    fusions = 4 * (3 * 32 * 32 + 2 * 32)
    assert fused.facts.trainable_parameters == fusions + fused.facts.head_parameters


def test_adapters_are_those_of_their_teachers(fused, references):
    found = load_file(fused.folder / TEACHER_TENSORS)

    for name, folder in references.items():
        own = load_file(f"{folder}/{TEACHER_TENSORS}")
        theirs = {renamed_parameter(key, "task", name): key for key in own}
        theirs.pop(None)
        assert theirs
        assert all(torch.equal(found[key], own[before]) for key, before in theirs.items())


def test_fused_teacher_comes_back_as_it_was_trained(fused, tiny_backbone, tiny_data):
    model = load_teacher(tiny_backbone, fused.folder)
    split = read_split(tiny_data.folder, "validation")
    tokenizer = load_tokenizer(tiny_backbone, max_length=16)
    logits = compute_outputs(
        model, OBJECTIVE, tokenizer, encode(tokenizer, split.texts, max_length=16)
    )

    assert read_teacher(fused.folder).adapter.active == Fuse(("reviews", "other"))
    accuracy = TASK.metrics(logits, split.labels)["accuracy"]
    assert accuracy == fused.facts.outcome.best_metric


def test_fused_teacher_learned(fused):
    tensors = load_file(fused.folder / TEACHER_TENSORS)
    values = [tensor for name, tensor in tensors.items() if name.endswith("value.weight")]

    losses = [each.validation["loss"] for each in fused.facts.outcome.curve if each.validation]
    assert losses[-1] < losses[0]
    assert len(values) == 4
    assert not any(torch.equal(value, torch.eye(32)) for value in values)


def test_penalty_keeps_values_near_the_identity(fuse_tiny, references, fused):
    held = fuse_tiny(references, value_penalty=1e3)

    def distance(stage):
        tensors = load_file(stage.folder / TEACHER_TENSORS)
        return sum(
            float((tensor - torch.eye(32)).square().sum())
            for name, tensor in tensors.items()
            if name.endswith("value.weight")
        )

    assert distance(held) < distance(fused) / 2


OUTPUTS = {
    # Two texts of three tokens, of which some count: outputs, labels, and how many items these are.
    "token-classification": ((2, 3, 2), [[0, 1, -100], [1, -100, -100]], 3),
    "question-answering": ((2, 3, 2), [[3, 0, 0], [0, 1, 2]], 2),
    "causal-lm": ((2, 3, 5), [[4, 2, -100], [1, -100, -100]], 3),
    "classification": ((2, 3), [0, 2], 2),
    "multi-label": ((2, 3), [[0, 1, 1], [1, 0, 0]], 2),
    "regression": ((2, 1), [0.5, 2.0], 2),
}


@pytest.mark.parametrize("task", TASKS)
def test_penalty_is_as_strong_for_every_task(task):
    shape, labels, items = OUTPUTS[task]
    objective, labels = TASKS[task].objective(), torch.tensor(labels)
    outputs = torch.randn(shape, generator=torch.Generator().manual_seed(0))

    plain = objective.hard(outputs, labels).sum() / items
    found = penalised(objective, lambda: torch.tensor(0.25))(outputs, labels).sum() / items

    torch.testing.assert_close(found - plain, torch.tensor(0.25))


def test_weighing_learns_one_weight_a_site_and_adapter(fuse_tiny, references):
    weighed = fuse_tiny(list(references.values()), together="weigh")

    tensors = load_file(weighed.folder / TEACHER_TENSORS)
    logits = {name: t for name, t in tensors.items() if is_composition_parameter(name)}
    assert read_teacher(weighed.folder).adapter.active == Weighted(("task1", "task2"))
    assert [tuple(tensor.shape) for tensor in logits.values()] == [(2,)] * 4
    # At sites after attention the second has no adapter; it still counts there, as no change.
    assert all(tensor.abs().max() > 0 for tensor in logits.values())


@pytest.mark.parametrize("together", ["fuse", "weigh"])
def test_nothing_is_composed_in_layers_that_are_left_out(
    fuse_tiny, references, tiny_backbone, together
):
    fused = fuse_tiny(references, together=together, drop_layers=1, epochs=0.2)

    tensors = load_file(fused.folder / TEACHER_TENSORS)
    assert not any(is_adapter_parameter(name) and ".layer.0." in name for name in tensors)
    load_teacher(tiny_backbone, fused.folder)  # it is built again alike


def test_adapterhub_and_teacher_fuse(fuse_tiny, references, hub_adapter, tmp_path):
    folder = hub_adapter(tmp_path / "language", "language", head=False)

    fused = fuse_tiny([str(folder), references["reviews"]], epochs=0.2)

    assert read_teacher(fused.folder).adapter.active == Fuse(("language", "task2"))


def test_head_starts_where_an_adapter_was_trained_with_it(fuse_tiny, references, tiny_teacher):
    barely = fuse_tiny(references, epochs=0.01, learning_rate=1e-12)

    found = load_file(barely.folder / TEACHER_TENSORS)
    own = load_file(tiny_teacher.folder / TEACHER_TENSORS)
    head = [name for name in own if not is_adapter_parameter(name)]
    assert head
    assert all(torch.allclose(found[name], own[name]) for name in head)


def test_adapter_of_another_backbone_is_refused(fuse_tiny, references, tiny_context, tmp_path):
    other = replace(tiny_context, backbone=replace(tiny_context.backbone, digest="0" * 64))

    with pytest.raises(InputError, match="was not trained on the backbone"):
        fuse_tiny(references, context=other, store=Store(root=tmp_path))
