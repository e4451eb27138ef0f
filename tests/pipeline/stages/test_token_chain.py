"""The chain of configs/token-classification.toml on tiny models, from words to ONNX files."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from support.task_chains import changed
from transformers import AutoModelForTokenClassification, AutoTokenizer
from typer.testing import CliRunner

from flows.cli.main import app
from models.losses import TOKEN_OBJECTIVE as OBJECTIVE
from pipeline.checkpoints.pretrained import find_checkpoint
from pipeline.checkpoints.teachers import TEACHER_TENSORS, load_teacher, read_teacher
from pipeline.checkpoints.tokenizers import load_tokenizer
from pipeline.config import ModelConfig
from pipeline.errors import InputError
from pipeline.inference.classifier import load_bundle
from pipeline.release.bundle import open_bundle, seal_bundle
from pipeline.release.package import package
from pipeline.standalone.export_adapter import export_adapter
from pipeline.standalone.import_adapter import import_adapter
from pipeline.standalone.predict import predict
from pipeline.tasks.token_classification import TOKEN_CLASSIFICATION as TASK
from pipeline.texts.soft_targets import read_soft_targets
from pipeline.texts.tables import read_split
from pipeline.training.encoding import compute_outputs
from pipeline.training.rows import make_rows

NAMES = ("O", "B-praise", "I-praise", "B-people", "I-people")
MAX_LENGTH = 24


@pytest.fixture(scope="module")
def config(task_config):
    return task_config("token-classification")


@pytest.fixture(scope="module")
def stages(run_until, config):
    """All but the benchmark."""
    return run_until("evaluate", config)


@pytest.fixture(scope="module")
def backbone(tiny_checkpoint):
    return find_checkpoint(ModelConfig(model=str(tiny_checkpoint)))


@pytest.fixture(scope="module")
def outputs_of(stages, backbone):
    """``outputs_of(model, split)``: what a torch model answers for every token, and every word."""
    tokenizer = load_tokenizer(backbone, max_length=MAX_LENGTH)

    def outputs_of(model, split):
        texts = read_split(stages["data"].folder, split).texts
        rows = make_rows(tokenizer, texts, TASK, max_length=MAX_LENGTH)
        outputs = compute_outputs(model, OBJECTIVE, tokenizer, rows.examples)
        return outputs, rows.read(outputs)

    return outputs_of


def test_splits_hold_words_and_a_tag_for_each(stages):
    facts, train = stages["data"].facts, read_split(stages["data"].folder, "train")

    assert facts.labels == NAMES
    for (text,), tags in zip(train.texts, train.labels, strict=True):
        assert len(text.split(" ")) == (tags >= 0).sum()
    assert facts.label_counts["train"].keys() == {"praise", "people"}


def test_teacher_learned_more_than_the_baseline(stages):
    facts = stages["evaluate"].facts

    assert facts.teacher.values["entity_f1"] > facts.plain.values["entity_f1"] + 0.1


def test_soft_targets_are_the_teachers_logits_of_every_token(stages, backbone, outputs_of):
    texts = read_split(stages["data"].folder, "validation").texts

    found = read_soft_targets(stages["soft-targets"].folder, texts)

    expected, _ = outputs_of(load_teacher(backbone, stages["finetune"].folder), "validation")
    width = expected.shape[1]
    assert stages["soft-targets"].facts.outputs == 5
    np.testing.assert_allclose(found[:, :width], expected, rtol=1e-3, atol=1e-4)
    assert np.isnan(found[:, width:]).all()


def test_absorbed_start_agrees_with_the_teacher(stages):
    facts = stages["distill"].facts

    assert facts.start == "absorbed"
    assert stages["absorb"].facts.held_out["word_agreement"] > 0.8
    assert facts.start_validation["word_agreement"] > 0.8
    assert facts.validation["mean_kl"] <= facts.start_validation["mean_kl"]


@pytest.mark.parametrize("arm", ["plain", "teacher", "student"])
def test_onnx_files_answer_what_torch_does(stages, backbone, outputs_of, arm):
    if arm == "student":
        folder = stages["distill"].folder
        model = AutoModelForTokenClassification.from_pretrained(folder).eval()
    else:
        stage = stages["head-only" if arm == "plain" else "finetune"]
        model = load_teacher(backbone, stage.folder)
    texts = read_split(stages["data"].folder, "test").texts

    found = load_bundle(stages["export"].folder / arm).readings(texts)

    np.testing.assert_allclose(found, outputs_of(model, "test")[1], rtol=1e-4, atol=1e-4)


def test_measured_quality_is_that_of_the_written_outputs(stages):
    facts, counts = stages["evaluate"].facts, stages["data"].facts.label_counts

    with np.load(stages["evaluate"].folder / "outputs.npz") as outputs:
        for arm in ("plain", "teacher", "student"):
            expected = TASK.metrics(outputs[arm], outputs["labels"])
            assert getattr(facts, arm).values == pytest.approx(expected)
    assert {each.label: each.texts for each in facts.classes} == counts["test"]


def test_gate_compares_entities_and_types(stages, config):
    checks = TASK.checks(stages["evaluate"].facts, config.gate)

    values = {check.name: check.value for check in checks}
    facts = stages["evaluate"].facts
    assert values["entity f1 lost against the teacher"] == -facts.change.values["entity_f1"]
    assert values["word agreement"] == facts.fidelity.values["word_agreement"]


def test_int8_is_judged_by_entities_and_words(stages):
    variants = stages["quantize"].facts.variants

    assert all(set(each.cost.values) == {"entity_f1", "word_agreement"} for each in variants)


def test_student_is_a_stock_token_classifier(stages):
    folder = stages["distill"].folder
    model = AutoModelForTokenClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)

    with torch.no_grad():
        logits = model(**tokenizer("good film", return_tensors="pt")).logits

    assert model.config.id2label == dict(enumerate(NAMES))
    assert logits.shape == (1, 4, 5)


def test_predict_answers_with_entities_and_their_characters(stages):
    bundle, text = stages["export"].folder / "student", "the actor director was good, very good!"

    (answer,) = predict(bundle, [text])

    result = CliRunner().invoke(app, ["predict", str(bundle), text])
    shown = ", ".join(f"{each['label']} {each['text']}" for each in answer["entities"])
    assert answer["entities"]
    assert all(text[e["start"] : e["end"]] == e["text"] for e in answer["entities"])
    assert result.output.rstrip("\n") == f"{shown}\t{text}"


def test_long_text_is_read_to_its_end(stages):
    bundle = stages["export"].folder / "student"
    text = " ".join(["the good film was very long"] * 40)

    outputs = load_bundle(bundle).outputs([(text,)])

    assert outputs.shape == (1, 240, 5)
    assert np.isfinite(outputs).all()


def test_pair_of_texts_is_refused(stages):
    with pytest.raises(InputError, match="takes single texts, found a pair"):
        predict(stages["export"].folder / "student", [("a", "b")])


def test_bundle_is_sealed_opened_and_packaged(stages, tmp_path):
    bundle = shutil.copytree(stages["export"].folder / "student", tmp_path / "student")
    seal_bundle(bundle)

    model = open_bundle(bundle)
    package(bundle, tmp_path / "triton", "triton", name="entities")

    assert (model.task, model.labels) == (TASK, NAMES)
    assert "dims: [ -1, 5 ]" in (tmp_path / "triton/entities/config.pbtxt").read_text()


def test_teacher_goes_to_adapterhub_and_comes_back_equal(stages, backbone, tmp_path):
    export_adapter(stages["finetune"].folder, tmp_path / "hub")
    import_adapter(
        [tmp_path / "hub"], tmp_path / "teacher", backbone=backbone.reference, max_length=MAX_LENGTH
    )

    head = json.loads((tmp_path / "hub" / "head_config.json").read_text())
    there = load_file(stages["finetune"].folder / TEACHER_TENSORS)
    back = load_file(tmp_path / "teacher" / TEACHER_TENSORS)
    read = read_teacher(tmp_path / "teacher")
    assert head["config"]["head_type"] == "tagging"
    assert (read.task, read.labels) == ("token-classification", NAMES)
    assert there.keys() == back.keys()
    assert all(torch.equal(there[name], back[name]) for name in there)


def test_adapterhub_teacher_is_imported_into_the_chain(stages, run_until, config, tmp_path):
    export_adapter(stages["finetune"].folder, tmp_path / "hub")
    model = config.teacher.model
    with_adapter = {"model": model, "adapter": {"from": str(tmp_path / "hub")}}

    imported = run_until("import", changed(config, "teacher", **with_adapter))["import"]

    expected = stages["finetune"].facts.outcome.best_metric
    assert imported.facts.outcome.best_metric == pytest.approx(expected, abs=1e-6)


def test_student_of_another_tokenizer_is_refused(run_until, config, tiny_checkpoint, tmp_path):
    other = shutil.copytree(tiny_checkpoint, tmp_path / "other")
    tokenizer = json.loads((other / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["act"], vocabulary["##or"] = vocabulary.pop("actor"), vocabulary.pop("clumsy")
    (other / "tokenizer.json").write_text(json.dumps(tokenizer))

    with pytest.raises(InputError, match="make different tokens of the texts"):
        run_until("distill", changed(config, "student", model={"model": str(other)}))
