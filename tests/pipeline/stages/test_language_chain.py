"""The chain of configs/causal-lm.toml on tiny models, from texts to ONNX files with a cache."""

import json
import shutil

import numpy as np
import pytest
import torch
from support.task_chains import changed
from transformers import AutoModelForCausalLM, AutoTokenizer

from models.next_tokens import LANGUAGE_OBJECTIVE as OBJECTIVE
from models.token_layout import FOLLOWING, LOG_PROBABILITY
from pipeline.checkpoints.pretrained import find_checkpoint
from pipeline.checkpoints.teachers import TEACHER_TENSORS, load_teacher
from pipeline.checkpoints.tensors import load_tensors
from pipeline.checkpoints.tokenizers import load_tokenizer
from pipeline.config import ModelConfig
from pipeline.errors import InputError
from pipeline.graphs.structure import describe_graph
from pipeline.inference.cache import first_inputs
from pipeline.inference.classifier import MODEL, load_bundle
from pipeline.release.bundle import open_bundle, seal_bundle
from pipeline.release.package import package
from pipeline.standalone.export_adapter import export_adapter
from pipeline.standalone.predict import predict
from pipeline.tasks.causal_lm import CAUSAL_LM as TASK
from pipeline.texts.soft_targets import read_soft_targets
from pipeline.texts.tables import read_split
from pipeline.training.encoding import compute_outputs, encode

MAX_LENGTH = 40


@pytest.fixture(scope="module")
def config(task_config):
    return task_config("causal-lm")


@pytest.fixture(scope="module")
def learned(run_until, config):
    """The stages up to the student in torch."""
    return run_until("distill", config)


@pytest.fixture(scope="module")
def stages(run_until, config):
    """All but the benchmark."""
    return run_until("evaluate", config)


@pytest.fixture(scope="module")
def backbone(tiny_language_model):
    return find_checkpoint(ModelConfig(model=str(tiny_language_model)))


def readings_of(model, backbone, texts):
    """Return what a torch model says of every token."""
    tokenizer = load_tokenizer(backbone, max_length=MAX_LENGTH)
    examples = encode(tokenizer, texts, max_length=MAX_LENGTH)
    return compute_outputs(model, OBJECTIVE, tokenizer, examples)


def test_texts_have_no_labels_but_sizes(learned):
    facts, train = learned["data"].facts, read_split(learned["data"].folder, "train")

    assert facts.labels == ()
    assert train.labels.tolist() == [len(text.encode()) for (text,) in train.texts]
    assert facts.label_counts["train"]["0 to 99 bytes"] == 100


def test_baseline_is_the_backbone_as_it_is(learned):
    facts = learned["head-only"].facts

    assert (facts.trainable_parameters, facts.outcome.steps) == (0, 0)
    assert load_tensors(learned["head-only"].folder / TEACHER_TENSORS) == {}


def test_adapters_alone_train_and_learn(learned):
    facts, before = learned["finetune"].facts, learned["head-only"].facts.outcome.curve[0]

    assert all("adapter" in name for name in facts.trainable_names)
    assert facts.outcome.best_metric > before.validation["token_accuracy"]
    assert facts.outcome.curve[-1].validation["perplexity"] < before.validation["perplexity"] / 2


def test_soft_targets_are_the_teachers_readings(learned, backbone):
    texts = read_split(learned["data"].folder, "validation").texts

    found = read_soft_targets(learned["soft-targets"].folder, texts)

    teacher = load_teacher(backbone, learned["finetune"].folder)
    expected = readings_of(teacher, backbone, texts)
    width = found.shape[1]
    for place in (FOLLOWING, LOG_PROBABILITY):
        np.testing.assert_allclose(
            found[..., place], expected[:, :width, place], rtol=1e-3, atol=1e-4
        )
    assert np.isnan(expected[:, width:]).all()  # nothing follows the last token


def test_absorbed_start_is_close_to_the_teacher(learned):
    facts = learned["distill"].facts

    assert facts.start == "absorbed"
    assert learned["absorb"].facts.held_out["mean_kl"] < 0.01
    assert facts.start_validation["mean_kl"] < 0.01
    assert facts.validation["mean_kl"] <= facts.start_validation["mean_kl"]


def test_student_is_a_stock_language_model(learned):
    folder = learned["distill"].folder
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)

    with torch.no_grad():
        logits = model(**tokenizer("the film is", return_tensors="pt")).logits

    assert logits.shape[2] == 300
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_encoder_is_refused(run_until, config, tiny_checkpoint):
    with pytest.raises(InputError, match=r"of the type bert, .* cannot continue them"):
        run_until("head-only", changed(config, "teacher", model=str(tiny_checkpoint)))


def test_labels_are_refused(config):
    with pytest.raises(ValueError, match="a causal-lm has one text column and no labels"):
        changed(config, "data", labels=["good", "bad"])


def test_student_of_another_tokenizer_is_refused(run_until, config, tiny_language_model, tmp_path):
    other = shutil.copytree(tiny_language_model, tmp_path / "other")
    tokenizer = json.loads((other / "tokenizer.json").read_text())
    tokenizer["model"]["merges"] = tokenizer["model"]["merges"][:-5]
    (other / "tokenizer.json").write_text(json.dumps(tokenizer))

    with pytest.raises(InputError, match="make different tokens of the texts"):
        run_until("distill", changed(config, "student", model={"model": str(other)}))


@pytest.fixture
def hub(learned, tmp_path):
    """The teacher's adapter as AdapterHub has it."""
    export_adapter(learned["finetune"].folder, tmp_path / "hub")
    return tmp_path / "hub"


def write_head(folder, weight, **meta):
    """Write a head as the library does, with another name of its only tensor."""
    (folder / "head_config.json").write_text(json.dumps(meta))
    torch.save({"heads.task.0.weight": weight}, folder / "pytorch_model_head.bin")


@pytest.mark.parametrize("head", ["none", "flexible", "static"])
def test_teacher_goes_to_adapterhub_and_is_imported_into_the_chain(
    learned, run_until, config, hub, tiny_language_model, head
):
    weight = AutoModelForCausalLM.from_pretrained(tiny_language_model).lm_head.weight.detach()
    if head == "flexible":
        write_head(hub, weight, name="task", config={"head_type": "causal_lm", "layers": 1})
    elif head == "static":
        write_head(hub, weight, config=None, model_class="LlamaForCausalLM")

    adapter = {"model": config.teacher.model, "adapter": {"from": str(hub)}}
    imported = run_until("import", changed(config, "teacher", **adapter))["import"]

    there = load_tensors(learned["finetune"].folder / TEACHER_TENSORS)
    back = load_tensors(imported.folder / TEACHER_TENSORS)
    expected = learned["finetune"].facts.outcome.best_metric
    assert (hub / "head_config.json").exists() == (head != "none")
    assert imported.facts.outcome.best_metric == pytest.approx(expected, abs=1e-6)
    assert len(there) == len(back)
    pairs = zip(sorted(there.items()), sorted(back.items()), strict=True)
    assert all(torch.equal(one, other) for (_, one), (_, other) in pairs)


def test_another_head_over_the_vocabulary_is_refused(run_until, config, hub):
    write_head(hub, torch.zeros(300, 32), name="task", config={"head_type": "causal_lm"})
    adapter = {"model": config.teacher.model, "adapter": {"from": str(hub)}}

    with pytest.raises(InputError, match="is not the backbone's own over the vocabulary"):
        run_until("import", changed(config, "teacher", **adapter))


@pytest.mark.slow  # tracing with a cache takes 10 s per model
@pytest.mark.parametrize("arm", ["plain", "teacher", "student"])
def test_onnx_files_read_what_torch_does(stages, backbone, arm):
    if arm == "student":
        model = AutoModelForCausalLM.from_pretrained(stages["distill"].folder).eval()
    else:
        stage = stages["head-only" if arm == "plain" else "finetune"]
        model = load_teacher(backbone, stage.folder)
    texts = read_split(stages["data"].folder, "test").texts

    found = load_bundle(stages["export"].folder / arm).readings(texts)

    expected = readings_of(model, backbone, texts)
    np.testing.assert_allclose(
        found[..., LOG_PROBABILITY], expected[:, : found.shape[1], LOG_PROBABILITY], atol=1e-4
    )


@pytest.mark.slow
def test_onnx_logits_of_a_text_are_the_same_alone_and_in_a_batch(stages):
    model = load_bundle(stages["export"].folder / "student")
    rows = model.encoder.encode(
        [("the film is good",), ("the",), ("a plot, but the ending was bad",)]
    )
    width = max(len(row["input_ids"]) for row in rows)

    together = model.run(model.pad(rows))  # padded on the right
    padded = [[0] * (width - len(row["input_ids"])) for row in rows]
    ids, mask = (
        np.array([gap + row[name] for gap, row in zip(padded, rows, strict=True)])
        for name in ("input_ids", "attention_mask")
    )
    left = model.run(first_inputs(model.session, ids, mask))

    for at, row in enumerate(rows):
        size = len(row["input_ids"])
        alone = model.run(model.pad([row]))[0]
        np.testing.assert_allclose(together[at, :size], alone, atol=2e-5)
        np.testing.assert_allclose(left[at, -size:], alone, atol=2e-5)


@pytest.mark.slow
def test_export_compared_texts_and_steps(stages):
    parity = stages["export"].facts.parity

    masks = {check.mask for check in parity}
    assert masks >= {"full", "right", "left", "hole", "left, by tokens", "left, in parts"}
    assert all(check.max_abs_difference <= check.tolerance for check in parity)


@pytest.mark.slow
def test_multiply_adds_of_grouped_heads_by_hand(stages):
    graph = describe_graph(stages["export"].folder / "student" / MODEL, batch=2, length=7)

    # Two heads of 16 that share keys and values, and an FFN of 64 with a gate; 300 words.
    layer = 7 * (2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 64) + 2 * 7 * 7 * 32
    assert graph.multiply_adds == 2 * (2 * layer + 7 * 32 * 300)


@pytest.mark.slow
def test_measured_quality_is_that_of_the_written_readings(stages):
    facts = stages["evaluate"].facts

    with np.load(stages["evaluate"].folder / "outputs.npz") as outputs:
        for arm in ("plain", "teacher", "student"):
            expected = TASK.metrics(outputs[arm], outputs["labels"])
            assert getattr(facts, arm).values == pytest.approx(expected)
    assert facts.teacher.values["perplexity"] < facts.plain.values["perplexity"] / 2
    assert facts.fidelity_fp32.values["mean_kl"] < 0.01


@pytest.mark.slow
def test_gate_holds_perplexity_and_tokens(stages, config):
    checks = TASK.checks(stages["evaluate"].facts, config.gate)

    values = {check.name: check.value for check in checks}
    facts = stages["evaluate"].facts
    growth = facts.change.values["perplexity"] / facts.teacher.values["perplexity"]
    assert values["perplexity gained against the teacher"] == growth
    assert values["token agreement"] == facts.fidelity.values["token_agreement"]


@pytest.mark.slow
def test_completions_are_those_of_transformers(stages):
    bundle, text = stages["export"].folder / "student", "the film is"
    tokenizer = AutoTokenizer.from_pretrained(stages["distill"].folder)
    model = AutoModelForCausalLM.from_pretrained(stages["distill"].folder).eval()

    (found,) = predict(bundle, [text])

    ids = tokenizer(text, return_tensors="pt")
    expected = model.generate(**ids, max_new_tokens=64, do_sample=False, use_cache=True)[0]
    completion = tokenizer.decode(expected[ids["input_ids"].shape[1] :], skip_special_tokens=True)
    assert found["completion"] == completion


@pytest.mark.slow
def test_bundle_is_sealed_opened_and_packaged(stages, tmp_path):
    bundle = shutil.copytree(stages["export"].folder / "student", tmp_path / "student")
    seal_bundle(bundle)

    model = open_bundle(bundle)
    package(bundle, tmp_path / "triton", "triton", name="reviews")

    config = (tmp_path / "triton/reviews/config.pbtxt").read_text()
    assert model.task is TASK
    assert 'name: "past_key_values.0.key" data_type: TYPE_FP32 dims: [ 1, -1, 16 ]' in config
