import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from models.losses import CLASSIFICATION_OBJECTIVE as OBJECTIVE
from models.student import adapter_traces
from pipeline.errors import InputError
from pipeline.store.store import Store
from pipeline.tasks.class_metrics import CLASS_QUALITY
from pipeline.texts.tables import read_split
from pipeline.training.encoding import compute_outputs, encode


def student_tensors(stage):
    return load_file(stage.folder / "model.safetensors")


def test_distilled_student_is_closer_to_its_teacher_than_its_start(tiny_distill):
    facts = tiny_distill(layers=(1,), learning_rate=3e-4).facts

    assert facts.kept == "trained"
    assert facts.validation["mean_kl"] < facts.start_validation["mean_kl"]
    assert facts.start == "pretrained"


def test_start_is_kept_when_training_does_not_help(tiny_distill, tiny_absorbed):
    stage = tiny_distill(absorbed=tiny_absorbed, learning_rate=10.0)

    assert stage.facts.kept == "start"
    assert stage.facts.validation == stage.facts.start_validation
    absorbed = load_file(tiny_absorbed.folder / "model.safetensors")
    kernels = {name for name in absorbed if name.startswith("bert.encoder")}
    assert all(torch.equal(student_tensors(stage)[name], absorbed[name]) for name in kernels)


def test_weights_with_the_best_metric_can_be_kept(tiny_distill):
    """From the labels alone, far from a teacher: the metric grows where the distance does too."""
    settings = {"layers": (1,), "learning_rate": 3e-3, "alpha": 0.0, "epochs": 3}

    best = tiny_distill(**settings, keep="best").facts

    measured = [point.validation["accuracy"] for point in best.outcome.curve if point.validation]
    assert best.kept == "trained"
    assert best.validation["accuracy"] == max(measured) > best.start_validation["accuracy"]


def test_absorbed_start_is_closer_to_the_teacher_than_the_backbone(tiny_student, tiny_distill):
    plain = tiny_distill(learning_rate=1e-12).facts

    assert tiny_student.facts.start == "absorbed"
    assert tiny_student.facts.start_validation["mean_kl"] < plain.start_validation["mean_kl"]


@pytest.mark.parametrize(
    "settings", [{"alpha": 0.0}, {"temperature": 8.0}, {"texts": 20}, {"dropout": None}]
)
def test_setting_changes_what_is_learned(tiny_distill, settings):
    common = {"layers": (1,), "learning_rate": 3e-4}
    usual = student_tensors(tiny_distill(**common))

    changed = student_tensors(tiny_distill(**common, **settings))

    assert any(not torch.equal(tensor, changed[name]) for name, tensor in usual.items())


def test_kept_layers_are_the_backbones_and_the_config_counts_them(tiny_distill, tiny_backbone):
    stage = tiny_distill(layers=(1,), learning_rate=1e-12)

    model = AutoModelForSequenceClassification.from_pretrained(stage.folder)
    backbone = AutoModelForSequenceClassification.from_pretrained(tiny_backbone.folder)
    assert model.config.num_hidden_layers == len(model.bert.encoder.layer) == 1
    torch.testing.assert_close(
        model.bert.encoder.layer[0].output.dense.weight,
        backbone.bert.encoder.layer[1].output.dense.weight,
    )


def test_layer_that_the_backbone_lacks_is_refused(tiny_distill, tmp_path):
    with pytest.raises(InputError, match=r"student\.layers: .* 0 to 1, found \[7\]"):
        tiny_distill(layers=(0, 7), store=Store(root=tmp_path))


def test_student_loads_with_transformers_alone(tiny_student, tiny_data):
    model = AutoModelForSequenceClassification.from_pretrained(tiny_student.folder)
    tokenizer = AutoTokenizer.from_pretrained(tiny_student.folder)
    validation = read_split(tiny_data.folder, "validation")

    logits = compute_outputs(
        model, OBJECTIVE, tokenizer, encode(tokenizer, validation.texts, max_length=16)
    )

    assert adapter_traces(model) == []
    assert model.config.id2label == {0: "negative", 1: "positive"}
    assert tokenizer.model_max_length == 16
    found = CLASS_QUALITY(logits, validation.labels)["accuracy"]
    assert np.isclose(found, tiny_student.facts.validation["accuracy"])
