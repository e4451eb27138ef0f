"""The chain on pairs of texts with numbers as labels, from the table to the measured ONNX files."""

import json
import shutil

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from typer.testing import CliRunner

from flows.cli.main import app
from models.losses import REGRESSION_OBJECTIVE as OBJECTIVE
from models.student import adapter_traces
from pipeline.checkpoints.pretrained import find_checkpoint
from pipeline.checkpoints.teachers import load_teacher, read_teacher
from pipeline.checkpoints.tokenizers import load_tokenizer
from pipeline.config import ModelConfig, RunConfig
from pipeline.inference.classifier import load_bundle
from pipeline.standalone.predict import predict
from pipeline.tasks.regression import REGRESSION
from pipeline.texts.soft_targets import read_soft_targets
from pipeline.texts.tables import read_split
from pipeline.training.encoding import compute_outputs, encode

MAX_LENGTH = 16
QUICK = {"batch_size": 8, "evaluations_per_epoch": 1, "precision": "fp32"}
TREE = {
    "task": "regression",
    "teacher": {"adapter": {"bottleneck_size": 8}},
    "head_only": {"epochs": 10, "learning_rate": 1e-2},
    "finetune": QUICK | {"epochs": 8, "learning_rate": 5e-3},
    "absorb": {"batch_size": 8},
    "distill": QUICK | {"epochs": 2, "learning_rate": 1e-4},
    "quantize": {"calibration_texts": 16, "blocks": 4, "calls": 1, "bootstrap_samples": 100}
    | {"max_metric_drop": 1.0, "max_agreement_drop": 1.0},
    "evaluate": {"bootstrap_samples": 100},
}
# Five scores, 100 to 300, each as frequent as the others.
MEAN, SPREAD = 200.0, 70.0


@pytest.fixture(scope="module")
def make_config(tiny_checkpoint, tiny_scores_csv):
    """``make_config(**tables)``: the config of a chain on `tiny_scores_csv`."""
    data = {
        "train": str(tiny_scores_csv),
        "text": ["first", "second"],
        "label": "score",
        "validation_size": 30,
        "test_size": 30,
        "max_length": MAX_LENGTH,
    }

    def make_config(**tables):
        tree = TREE | {"data": data} | tables
        teacher = tree["teacher"] | {"model": str(tiny_checkpoint)}
        return RunConfig.model_validate(tree | {"teacher": teacher})

    return make_config


@pytest.fixture(scope="module")
def stages(run_until, make_config):
    """All but the benchmark."""
    return run_until("evaluate", make_config())


@pytest.fixture(scope="module")
def backbone(tiny_checkpoint):
    return find_checkpoint(ModelConfig(model=str(tiny_checkpoint)))


@pytest.fixture(scope="module")
def outputs_of(backbone, stages):
    """``outputs_of(model, split)``: what a torch model answers."""
    tokenizer = load_tokenizer(backbone, max_length=MAX_LENGTH)

    def outputs_of(model, split):
        texts = read_split(stages["data"].folder, split).texts
        examples = encode(tokenizer, texts, max_length=MAX_LENGTH)
        return compute_outputs(model, OBJECTIVE, tokenizer, examples)

    return outputs_of


def student_of(stages):
    return AutoModelForSequenceClassification.from_pretrained(stages["distill"].folder).eval()


def test_labels_are_numbers_and_are_counted_by_range(stages):
    facts, train = stages["data"].facts, read_split(stages["data"].folder, "train")

    assert facts.labels == ("score",)
    assert facts.text_columns == ("first", "second")
    assert train.labels.dtype == np.float64
    assert set(train.labels) == {100.0, 150.0, 200.0, 250.0, 300.0}
    assert {n: sum(counts.values()) for n, counts in facts.label_counts.items()} == facts.sizes


def test_splits_hold_scores_of_every_range(stages):
    counts = stages["data"].facts.label_counts

    assert all(count > 0 for split in counts.values() for count in split.values())


@pytest.mark.parametrize("name", ["head-only", "finetune"])
def test_trained_models_answer_in_the_labels_unit(stages, backbone, outputs_of, name):
    labels = read_split(stages["data"].folder, "validation").labels

    outputs = outputs_of(load_teacher(backbone, stages[name].folder), "validation")

    found = REGRESSION.metrics(outputs, labels)
    outcome = stages[name].facts.outcome
    best = next(point for point in outcome.curve if point.step == outcome.best_step)
    for metric in ("pearson", "spearman", "rmse"):
        assert best.validation[metric] == pytest.approx(found[metric], rel=1e-3)
    assert outcome.best_metric == best.validation["pearson"]
    assert abs(outputs.mean() - MEAN) < SPREAD / 2


def test_baseline_does_not_depend_on_the_labels_unit(
    stages, run_until, make_config, tiny_scores_csv, tmp_path
):
    header, *rows = tiny_scores_csv.read_text().splitlines()
    parts = [row.rpartition(",") for row in rows]
    other = [f"{texts},{10 * float(score) + 5000}" for texts, _, score in parts]
    path = tmp_path / "scores.csv"
    path.write_text("\n".join([header, *other]))
    config = make_config()
    data = config.data.model_copy(update={"train": str(path)})

    moved = run_until("head-only", config.model_copy(update={"data": data}))["head-only"]

    found, expected = moved.facts.outcome.curve[-1], stages["head-only"].facts.outcome.curve[-1]
    assert found.train_loss == pytest.approx(expected.train_loss, rel=1e-3)
    assert found.validation["rmse"] == pytest.approx(10 * expected.validation["rmse"], rel=1e-3)
    assert found.validation["pearson"] == pytest.approx(expected.validation["pearson"], abs=1e-3)


def test_student_with_a_new_head_starts_at_numbers_like_the_labels(
    run_until, make_config, tiny_checkpoint, tiny_classifier, tmp_path
):
    small = shutil.copytree(tiny_checkpoint, tmp_path / "small")
    words = json.loads((small / "config.json").read_text())["vocab_size"]
    tiny_classifier("bert", vocab_size=words, hidden_size=16, num_labels=2).save_pretrained(small)

    student = run_until("distill", make_config(student={"model": {"model": str(small)}}))["distill"]

    assert student.facts.start == "pretrained"
    assert student.facts.start_validation["rmse"] < 3 * SPREAD


def test_teacher_learned_more_than_the_mean_and_the_baseline(stages):
    facts = stages["evaluate"].facts

    assert facts.teacher.values["rmse"] < SPREAD
    assert facts.teacher.values["pearson"] > facts.plain.values["pearson"]


def test_teacher_says_what_it_was_trained_for(stages):
    description = read_teacher(stages["finetune"].folder)

    assert (description.task, description.labels) == ("regression", ("score",))


def test_soft_targets_are_the_teachers_numbers(stages, backbone, outputs_of):
    texts = read_split(stages["data"].folder, "validation").texts

    found = read_soft_targets(stages["soft-targets"].folder, texts)

    teacher = load_teacher(backbone, stages["finetune"].folder)
    np.testing.assert_allclose(found, outputs_of(teacher, "validation"), rtol=1e-4)
    assert stages["soft-targets"].facts.outputs == 1


def test_absorbed_start_follows_the_teacher(stages):
    facts = stages["absorb"].facts

    assert facts.method == "ridge"
    assert facts.held_out["teacher_correlation"] > 0.8
    assert stages["distill"].facts.start == "absorbed"


def test_student_correlates_with_its_teacher(stages):
    facts = stages["distill"].facts

    assert facts.validation["teacher_rmse"] <= facts.start_validation["teacher_rmse"]
    assert facts.validation["teacher_correlation"] > 0.9
    assert stages["evaluate"].facts.fidelity.values["teacher_correlation"] > 0.9


def test_student_is_a_stock_model_of_one_number(stages, outputs_of):
    student = student_of(stages)

    found = REGRESSION.metrics(
        outputs_of(student, "validation"), read_split(stages["data"].folder, "validation").labels
    )
    assert adapter_traces(student) == []
    assert (student.config.problem_type, student.config.id2label) == ("regression", {0: "score"})
    assert found["rmse"] == pytest.approx(stages["distill"].facts.validation["rmse"], rel=1e-3)


@pytest.mark.parametrize("arm", ["plain", "teacher", "student"])
def test_onnx_files_answer_what_torch_does(stages, backbone, outputs_of, arm):
    model = (
        student_of(stages)
        if arm == "student"
        else load_teacher(
            backbone, stages[{"plain": "head-only", "teacher": "finetune"}[arm]].folder
        )
    )
    texts = read_split(stages["data"].folder, "test").texts

    found = load_bundle(stages["export"].folder / arm).outputs(texts)

    np.testing.assert_allclose(found, outputs_of(model, "test"), rtol=1e-4, atol=1e-3)


def test_bundle_answers_with_numbers(stages):
    folder = stages["quantize"].folder / "student"
    bundle = load_bundle(folder)

    (answer,) = bundle.task.answers(bundle.outputs([("good great", "lovely superb")]), ("score",))

    assert bundle.task == REGRESSION
    assert bundle.labels == ("score",)
    assert json.loads((folder / "config.json").read_text())["problem_type"] == "regression"
    assert 50 < answer["value"] < 350


def test_variants_are_judged_by_both_correlations(stages):
    facts = stages["quantize"].facts

    assert all(set(v.cost.values) == {"pearson", "teacher_correlation"} for v in facts.variants)
    assert all(variant.refused is None for variant in facts.variants)


def test_measured_quality_is_that_of_the_written_outputs(stages):
    facts = stages["evaluate"].facts

    with np.load(stages["evaluate"].folder / "outputs.npz") as outputs:
        for arm in ("plain", "teacher", "student"):
            expected = REGRESSION.metrics(outputs[arm], outputs["labels"])
            assert getattr(facts, arm).values == pytest.approx(expected)
    assert facts.classes == ()


def test_gate_holds_the_student_against_its_teacher(stages, make_config):
    checks = REGRESSION.checks(stages["evaluate"].facts, make_config().gate)

    values = {check.name: check.value for check in checks}
    facts = stages["evaluate"].facts
    assert values["pearson lost against the teacher"] == pytest.approx(
        -facts.change.values["pearson"]
    )
    assert values["RMSE gained against the teacher"] == pytest.approx(
        facts.change.values["rmse"] / facts.teacher.values["rmse"]
    )


def test_teacher_of_an_earlier_run_is_taken_over(stages, run_until, make_config):
    adapter = {"from": str(stages["finetune"].folder)}

    imported = run_until("import", make_config(teacher={"adapter": adapter}))["import"]

    expected = stages["finetune"].facts.outcome.best_metric
    assert imported.facts.outcome.best_metric == pytest.approx(expected, abs=1e-6)


def test_teacher_goes_on_from_an_earlier_one(stages, run_until, make_config):
    teacher = TREE["teacher"] | {"start": str(stages["finetune"].folder)}
    barely = QUICK | {"epochs": 0.1, "learning_rate": 1e-12}

    config = make_config(teacher=teacher, finetune=barely)
    again = run_until("finetune", config)["finetune"]

    # The head was changed to standard units and back: what is left of that is rounding.
    expected = stages["finetune"].facts.outcome.best_metric
    assert again.facts.outcome.best_metric == pytest.approx(expected, abs=1e-4)


def test_one_label_alone_is_refused(make_config, run_until, tmp_path):
    path = tmp_path / "scores.csv"
    rows = [f"text {number},and {number},1.5" for number in range(80)]
    path.write_text("\n".join(["first,second,score", *rows]))
    data = make_config().data.model_copy(update={"train": str(path)})
    config = make_config().model_copy(update={"data": data})

    with pytest.raises(ValueError, match=r"holds one label only \(1\.5\)"):
        run_until("data", config)


def test_student_loads_with_transformers_alone(stages):
    tokenizer = AutoTokenizer.from_pretrained(stages["distill"].folder)

    with torch.no_grad():
        result = student_of(stages)(**tokenizer("good film", "fine actor", return_tensors="pt"))

    assert result.logits.shape == (1, 1)


def test_predict_prints_a_number_and_the_text(stages):
    bundle = stages["export"].folder / "student"

    result = CliRunner().invoke(app, ["predict", str(bundle), "good film", "fine actor", "--pairs"])

    number, *texts = result.output.rstrip().split("\t")
    (answer,) = predict(bundle, [("good film", "fine actor")])
    assert number == f"{answer['value']:.4f}"
    assert texts == ["good film", "fine actor"]
