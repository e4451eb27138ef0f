"""The chain of configs/multi-label.toml on tiny models, from texts to the measured ONNX files."""

import json
import shutil

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from typer.testing import CliRunner

from flows.cli.main import app
from models.losses import MULTI_LABEL_OBJECTIVE as OBJECTIVE
from pipeline.checkpoints.pretrained import find_checkpoint
from pipeline.checkpoints.teachers import load_teacher
from pipeline.checkpoints.tokenizers import load_tokenizer
from pipeline.config import ModelConfig
from pipeline.errors import InputError
from pipeline.inference.classifier import load_bundle
from pipeline.release.bundle import open_bundle, seal_bundle
from pipeline.standalone.predict import predict
from pipeline.tasks.multi_label import MULTI_LABEL
from pipeline.texts.soft_targets import read_soft_targets
from pipeline.texts.tables import read_split
from pipeline.training.encoding import compute_outputs, encode

NAMES = ("praise", "blame", "people")
MAX_LENGTH = 16


@pytest.fixture(scope="module")
def config(task_config):
    return task_config("multi-label")


@pytest.fixture(scope="module")
def stages(run_until, config):
    """All but the benchmark."""
    return run_until("evaluate", config)


@pytest.fixture(scope="module")
def teacher_of(stages, tiny_checkpoint):
    """``teacher_of(name, split)``: what the teacher of a stage answers, by torch."""
    backbone = find_checkpoint(ModelConfig(model=str(tiny_checkpoint)))
    tokenizer = load_tokenizer(backbone, max_length=MAX_LENGTH)

    def teacher_of(name, split):
        texts = read_split(stages["data"].folder, split).texts
        examples = encode(tokenizer, texts, max_length=MAX_LENGTH)
        model = load_teacher(backbone, stages[name].folder)
        return compute_outputs(model, OBJECTIVE, tokenizer, examples)

    return teacher_of


def test_labels_are_a_flag_for_each_name(stages):
    facts, train = stages["data"].facts, read_split(stages["data"].folder, "train")

    assert facts.labels == NAMES
    assert train.labels.shape == (facts.sizes["train"], 3)
    assert dict(zip(NAMES, train.labels.sum(axis=0), strict=True)) == facts.label_counts["train"]


def test_teacher_learned_more_than_the_baseline(stages):
    facts = stages["evaluate"].facts

    for metric in ("micro_f1", "mean_average_precision"):
        assert facts.teacher.values[metric] > facts.plain.values[metric]


def test_soft_targets_are_the_teachers_logits(stages, teacher_of):
    texts = read_split(stages["data"].folder, "validation").texts

    found = read_soft_targets(stages["soft-targets"].folder, texts)

    assert found.shape == (len(texts), 3)
    np.testing.assert_allclose(found, teacher_of("finetune", "validation"), rtol=1e-4, atol=1e-5)


def test_absorbed_start_agrees_with_the_teacher(stages):
    facts = stages["distill"].facts

    assert facts.start == "absorbed"
    assert facts.start_validation["label_agreement"] > 0.8
    assert facts.validation["mean_kl"] <= facts.start_validation["mean_kl"]


@pytest.mark.parametrize(("arm", "chosen_by"), [("plain", "head-only"), ("teacher", "finetune")])
def test_thresholds_are_the_best_of_the_validation_split(stages, teacher_of, arm, chosen_by):
    validation = read_split(stages["data"].folder, "validation")
    found = json.loads((stages["export"].folder / arm / "thresholds.json").read_text())

    expected = MULTI_LABEL.choose(teacher_of(chosen_by, "validation"), validation.labels)

    assert tuple(found) == NAMES
    assert list(found.values()) == pytest.approx(list(expected), abs=2e-4)


def test_student_ships_its_teachers_thresholds(stages):
    read = "thresholds.json"
    shipped = stages["quantize"].folder / "student" / read

    assert shipped.read_text() == (stages["export"].folder / "teacher" / read).read_text()


def test_measured_quality_is_at_the_shipped_thresholds(stages):
    facts = stages["evaluate"].facts
    test = read_split(stages["data"].folder, "test")
    bundle = load_bundle(stages["quantize"].folder / "student")

    found = MULTI_LABEL.metrics(bundle.readings(test.texts), test.labels)

    assert facts.student.values == pytest.approx(found)
    assert bundle.thresholds is not None
    with np.load(stages["evaluate"].folder / "outputs.npz") as outputs:
        assert outputs["student"].shape == (len(test), 2, 3)
        np.testing.assert_allclose(outputs["student"][0, 1], bundle.thresholds, rtol=1e-6)


def test_classes_are_measured_label_by_label(stages):
    classes = stages["evaluate"].facts.classes

    assert tuple(each.label for each in classes) == NAMES
    assert {each.label: each.texts for each in classes} == stages["data"].facts.label_counts["test"]


def test_gate_compares_f1_sets_of_labels_and_calibration(stages, config):
    checks = MULTI_LABEL.checks(stages["evaluate"].facts, config.gate)

    values = {check.name: check.value for check in checks}
    facts = stages["evaluate"].facts
    assert values["micro f1 lost against the teacher"] == -facts.change.values["micro_f1"]
    assert values["label agreement"] == facts.fidelity.values["label_agreement"]
    assert "calibration error gained against the teacher" in values


def test_student_is_a_stock_multi_label_model(stages):
    folder = stages["distill"].folder
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)

    with torch.no_grad():
        result = model(**tokenizer("good film", return_tensors="pt"), labels=torch.ones(1, 3))

    assert model.config.problem_type == "multi_label_classification"
    assert model.config.id2label == dict(enumerate(NAMES))
    assert result.logits.shape == (1, 3)


def test_predict_answers_with_all_labels_over_their_thresholds(stages):
    bundle = stages["export"].folder / "student"

    (answer,) = predict(bundle, ["good great awful bad movie"])

    thresholds = json.loads((bundle / "thresholds.json").read_text())
    over = [name for name in NAMES if answer["scores"][name] >= thresholds[name]]
    assert sorted(answer["labels"]) == sorted(over)
    assert answer["labels"] == sorted(over, key=lambda name: -answer["scores"][name])
    result = CliRunner().invoke(app, ["predict", str(bundle), "good great awful bad movie"])
    assert result.output.split("\t")[0] == ", ".join(answer["labels"])


@pytest.fixture
def sealed(stages, tmp_path):
    """A sealed copy of the student's bundle."""
    copy = shutil.copytree(stages["export"].folder / "student", tmp_path / "student")
    seal_bundle(copy)
    return copy


def test_sealed_bundle_lists_its_thresholds(sealed):
    thresholds = json.loads((sealed / "thresholds.json").read_text())

    assert open_bundle(sealed).thresholds.tolist() == list(thresholds.values())


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"praise": 0.5, "blame": 0.5}, "has thresholds for"),
        ({"praise": 0.5, "blame": 0.5, "people": 2}, "not a threshold for each label"),
    ],
)
def test_damaged_thresholds_are_refused(sealed, content, problem):
    (sealed / "thresholds.json").write_text(json.dumps(content))

    with pytest.raises(InputError, match=problem):
        load_bundle(sealed)


def test_changed_thresholds_are_refused_by_a_sealed_bundle(sealed):
    content = json.loads((sealed / "thresholds.json").read_text())
    (sealed / "thresholds.json").write_text(json.dumps(content | {"praise": 0.123}))

    with pytest.raises(InputError, match=r"thresholds\.json"):
        open_bundle(sealed)
