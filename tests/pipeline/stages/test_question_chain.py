"""The chain of configs/question-answering.toml on tiny models, from SQuAD's JSON to ONNX files."""

import json
import shutil

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file
from support.task_chains import changed
from transformers import AutoModelForQuestionAnswering, AutoTokenizer
from typer.testing import CliRunner

from flows.cli.main import app
from models.losses import SPAN_OBJECTIVE as OBJECTIVE
from pipeline.checkpoints.pretrained import find_checkpoint
from pipeline.checkpoints.teachers import TEACHER_TENSORS, load_teacher, read_teacher
from pipeline.checkpoints.tokenizers import load_tokenizer
from pipeline.config import ModelConfig
from pipeline.errors import InputError
from pipeline.inference.classifier import load_bundle
from pipeline.inference.thresholds import THRESHOLDS
from pipeline.release.bundle import open_bundle, seal_bundle
from pipeline.release.package import package
from pipeline.standalone.export_adapter import export_adapter
from pipeline.standalone.import_adapter import import_adapter
from pipeline.standalone.predict import predict
from pipeline.tasks.question_answering import QUESTION_ANSWERING as TASK
from pipeline.texts.soft_targets import read_soft_targets
from pipeline.texts.tables import read_split
from pipeline.training.encoding import compute_outputs
from pipeline.training.rows import make_rows

MAX_LENGTH = 24


@pytest.fixture(scope="module")
def config(task_config):
    return task_config("question-answering")


@pytest.fixture(scope="module")
def stages(run_until, config):
    """All but the benchmark."""
    return run_until("evaluate", config)


@pytest.fixture(scope="module")
def backbone(tiny_checkpoint):
    return find_checkpoint(ModelConfig(model=str(tiny_checkpoint)))


@pytest.fixture(scope="module")
def readings_of(stages, backbone):
    """``readings_of(model, split)``: what a torch model answers, before any threshold."""
    tokenizer = load_tokenizer(backbone, max_length=MAX_LENGTH)

    def readings_of(model, split):
        texts = read_split(stages["data"].folder, split).texts
        rows = make_rows(tokenizer, texts, TASK, max_length=MAX_LENGTH)
        return rows.read(compute_outputs(model, OBJECTIVE, tokenizer, rows.examples))

    return readings_of


def test_splits_hold_spans_and_no_context_is_in_two(stages):
    folder = stages["data"].folder
    splits = [read_split(folder, name) for name in ("train", "validation", "test")]

    contexts = [{context for _, context in split.texts} for split in splits]
    assert stages["data"].facts.labels == ("start", "end")
    assert stages["data"].facts.label_counts["train"].keys() == {"answer", "no answer"}
    assert not any(a & b for a in contexts for b in contexts if a is not b)
    for split in splits:
        for question in TASK.truth(split.texts, split.labels):
            assert all(answer.split()[-1] in question.context for answer in question.answers)


def test_teacher_learned_more_than_the_baseline(stages):
    facts = stages["evaluate"].facts

    assert facts.teacher.values["f1"] > facts.plain.values["f1"] + 0.1
    assert {"has_answer_f1", "no_answer_accuracy"} <= facts.teacher.values.keys()


def test_soft_targets_are_the_teachers_logits_of_every_window(stages, backbone):
    texts = read_split(stages["data"].folder, "validation").texts
    tokenizer = load_tokenizer(backbone, max_length=MAX_LENGTH)
    rows = make_rows(tokenizer, texts, TASK, max_length=MAX_LENGTH)

    found = read_soft_targets(stages["soft-targets"].folder, rows.keys)

    model = load_teacher(backbone, stages["finetune"].folder)
    expected = compute_outputs(model, OBJECTIVE, tokenizer, rows.examples)
    assert len(rows.keys) > len(texts)
    np.testing.assert_allclose(found[:, : expected.shape[1]], expected, rtol=1e-3, atol=1e-4)


def test_absorbed_start_agrees_with_the_teacher(stages):
    facts = stages["distill"].facts

    assert facts.start == "absorbed"
    assert stages["absorb"].facts.held_out["span_agreement"] > 0.5
    assert facts.start_validation["span_agreement"] > 0.5
    assert facts.validation["mean_kl"] <= facts.start_validation["mean_kl"]


@pytest.mark.parametrize("arm", ["plain", "teacher", "student"])
def test_onnx_files_answer_what_torch_does(stages, backbone, readings_of, arm):
    if arm == "student":
        folder = stages["distill"].folder
        model = AutoModelForQuestionAnswering.from_pretrained(folder).eval()
    else:
        stage = stages["head-only" if arm == "plain" else "finetune"]
        model = load_teacher(backbone, stage.folder)
    texts = read_split(stages["data"].folder, "test").texts

    found = load_bundle(stages["export"].folder / arm).data_outputs(texts)

    np.testing.assert_allclose(found, readings_of(model, "test"), rtol=1e-4, atol=1e-4)


def test_graph_has_the_two_outputs_that_other_readers_know(stages):
    session = onnxruntime.InferenceSession(stages["export"].folder / "student/onnx/model.onnx")

    assert [each.name for each in session.get_outputs()] == ["start_logits", "end_logits"]
    assert {len(each.shape) for each in session.get_outputs()} == {2}


def test_measured_quality_is_that_of_the_written_outputs(stages):
    facts, split = stages["evaluate"].facts, read_split(stages["data"].folder, "test")
    truth = TASK.truth(split.texts, split.labels)

    with np.load(stages["evaluate"].folder / "outputs.npz") as outputs:
        for arm in ("plain", "teacher", "student"):
            expected = TASK.metrics(outputs[arm], truth)
            assert getattr(facts, arm).values == pytest.approx(expected)


def test_threshold_is_the_teachers_and_ships(stages, readings_of, backbone):
    split = read_split(stages["data"].folder, "validation")
    own = readings_of(load_teacher(backbone, stages["finetune"].folder), "validation")

    shipped = [
        json.loads((stages["export"].folder / arm / THRESHOLDS).read_text())
        for arm in ("teacher", "student")
    ]

    expected = TASK.choose(own, TASK.truth(split.texts, split.labels))
    assert shipped[0] == shipped[1] == {"no_answer": pytest.approx(expected[0], abs=1e-4)}


def test_gate_compares_f1_and_answers(stages, config):
    checks = TASK.checks(stages["evaluate"].facts, config.gate)

    values = {check.name: check.value for check in checks}
    facts = stages["evaluate"].facts
    assert values["f1 lost against the teacher"] == -facts.change.values["f1"]
    assert values["span agreement"] == facts.fidelity.values["span_agreement"]


def test_int8_is_judged_by_f1_and_answers(stages):
    variants = stages["quantize"].facts.variants

    assert all(set(each.cost.values) == {"f1", "span_agreement"} for each in variants)


def test_student_is_a_stock_question_answerer(stages):
    folder = stages["distill"].folder
    model = AutoModelForQuestionAnswering.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)

    with torch.no_grad():
        result = model(**tokenizer("the film", "a good plot", return_tensors="pt"))

    assert result.start_logits.shape == result.end_logits.shape == (1, 8)


def test_predict_answers_with_characters_of_the_context(stages):
    bundle = stages["export"].folder / "student"
    context = " ".join(["the plot was long and"] * 8 + ["superb director", "and so it was"])

    (answer,) = predict(bundle, [("we saw it", context)])

    given = json.dumps({"question": "we saw it", "context": context})
    result = CliRunner().invoke(app, ["predict", str(bundle), "--jsonl", "--json", given])
    shown = json.loads(result.output)
    spans = [answer, *answer["candidates"]]
    assert (shown["answer"], shown["start"]) == (answer["answer"], answer["start"])
    assert all(context[each["start"] : each["end"]] == each["answer"] for each in spans)
    assert all(0 <= each["score"] <= 1 for each in spans)


def test_predict_prints_the_answer_and_its_question(stages):
    bundle, context = stages["export"].folder / "student", "the plot was long and\nsuperb"
    (answer,) = predict(bundle, [("we saw it", context)])

    result = CliRunner().invoke(app, ["predict", str(bundle), "--pairs", "we saw it", context])

    shown = answer["answer"] or "(no answer)"
    assert result.output == f"{shown}\t{answer['score']:.4f}\twe saw it\n"


def test_single_text_is_refused(stages):
    with pytest.raises(InputError, match="takes pairs, found a single text"):
        predict(stages["export"].folder / "student", ["the film"])


def test_question_that_leaves_no_room_is_refused(stages):
    with pytest.raises(InputError, match="has 12 tokens, and at most 9 fit beside a window"):
        predict(stages["export"].folder / "student", [("the film " * 6, "a good plot")])


def test_bundle_is_sealed_opened_and_packaged(stages, tmp_path):
    bundle = shutil.copytree(stages["export"].folder / "student", tmp_path / "student")
    seal_bundle(bundle)

    model = open_bundle(bundle)
    package(bundle, tmp_path / "triton", "triton", name="answers")

    config = (tmp_path / "triton/answers/config.pbtxt").read_text()
    assert (model.task, model.labels) == (TASK, ("start", "end"))
    assert '"start_logits" data_type: TYPE_FP32 dims: [ -1 ]' in config
    assert '"end_logits"' in config


def test_teacher_goes_to_adapterhub_and_comes_back_equal(stages, backbone, tmp_path):
    export_adapter(stages["finetune"].folder, tmp_path / "hub")
    import_adapter(
        [tmp_path / "hub"], tmp_path / "teacher", backbone=backbone.reference, max_length=MAX_LENGTH
    )

    head = json.loads((tmp_path / "hub" / "head_config.json").read_text())
    there = load_file(stages["finetune"].folder / TEACHER_TENSORS)
    back = load_file(tmp_path / "teacher" / TEACHER_TENSORS)
    read = read_teacher(tmp_path / "teacher")
    assert head["config"]["head_type"] == "question_answering"
    assert (read.task, read.labels) == ("question-answering", ("start", "end"))
    assert there.keys() == back.keys()
    assert all(torch.equal(there[name], back[name]) for name in there)


def test_adapterhub_teacher_is_imported_into_the_chain(stages, run_until, config, tmp_path):
    export_adapter(stages["finetune"].folder, tmp_path / "hub")
    model = config.teacher.model
    with_adapter = {"model": model, "adapter": {"from": str(tmp_path / "hub")}}

    imported = run_until("import", changed(config, "teacher", **with_adapter))["import"]

    expected = stages["finetune"].facts.outcome.best_metric
    assert imported.facts.outcome.best_metric == pytest.approx(expected, abs=1e-6)
