import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn.modules.module import register_module_forward_pre_hook
from transformers import AutoModelForSequenceClassification

from models.losses import CLASSIFICATION_OBJECTIVE as OBJECTIVE
from models.student import adapter_traces, take_head
from pipeline.checkpoints.compute import find_compute
from pipeline.checkpoints.pretrained import Checkpoint, find_checkpoint
from pipeline.checkpoints.teachers import load_teacher
from pipeline.checkpoints.tokenizers import load_tokenizer
from pipeline.checkpoints.weights import load_model
from pipeline.config import AbsorbConfig, AdapterConfig, ComputeConfig, ModelConfig
from pipeline.errors import InputError
from pipeline.stages.absorb import AbsorbSettings, absorb, absorb_teacher
from pipeline.standalone.absorb import absorb_alone
from pipeline.store.store import Store
from pipeline.texts.soft_targets import read_soft_targets
from pipeline.texts.tables import read_split
from pipeline.training.encoding import compute_outputs, encode

LINEAR = AdapterConfig(bottleneck_size=8, activation="linear")
PARALLEL = AdapterConfig(bottleneck_size=8, activation="gelu", kind="parallel")


@pytest.fixture(scope="module")
def texts(tiny_data):
    return read_split(tiny_data.folder, "train").texts


@pytest.fixture
def absorb_texts(texts, tiny_teacher, tiny_context, tmp_path):
    """``absorb_texts(texts=..., teacher=...)``: the facts of a start on any texts and folder."""

    def absorb_texts(*, texts=texts, teacher=tiny_teacher.folder):
        settings = AbsorbSettings(
            context=tiny_context, absorb=AbsorbConfig(batch_size=8), layers=None
        )
        return absorb_teacher(texts, teacher, settings, tmp_path / "absorbed")

    return absorb_texts


@pytest.fixture(scope="module")
def logits_of(tiny_data, tiny_backbone):
    """``logits_of(model)``: on the validation texts."""
    tokenizer = load_tokenizer(tiny_backbone, max_length=16)
    examples = encode(tokenizer, read_split(tiny_data.folder, "validation").texts, max_length=16)
    return lambda model: compute_outputs(model, OBJECTIVE, tokenizer, examples)


def stock(stage_or_folder):
    folder = getattr(stage_or_folder, "folder", stage_or_folder)
    return AutoModelForSequenceClassification.from_pretrained(folder).eval()


def test_result_is_a_stock_model_without_traces_of_adapters(tiny_absorbed, tiny_backbone):
    model, backbone = stock(tiny_absorbed), stock(tiny_backbone)

    assert adapter_traces(model) == []
    assert {n: t.shape for n, t in model.state_dict().items()} == {
        n: t.shape for n, t in backbone.state_dict().items()
    }


def test_comparison_is_on_texts_that_the_teacher_was_not_trained_on(
    tiny_absorbed, tiny_data, tiny_targets, logits_of
):
    validation = read_split(tiny_data.folder, "validation")
    teacher = read_soft_targets(tiny_targets.folder, validation.texts)
    own = logits_of(stock(tiny_absorbed))

    held_out = tiny_absorbed.facts.held_out

    assert held_out["agreement"] == np.mean(own.argmax(-1) == teacher.argmax(-1))
    assert held_out["accuracy"] == np.mean(own.argmax(-1) == validation.labels)


def test_tokens_can_be_weighed_alike(tiny_absorb, tiny_absorbed):
    alike = tiny_absorb(weigh_tokens=False).facts

    assert alike.sites != tiny_absorbed.facts.sites
    assert alike.texts == tiny_absorbed.facts.texts


def test_every_site_of_every_layer_is_fitted(tiny_absorbed):
    sites = [(fit.layer, fit.site) for fit in tiny_absorbed.facts.sites]

    assert sites == [(0, "attention"), (0, "ffn"), (1, "attention"), (1, "ffn")]
    assert tiny_absorbed.facts.texts == 72
    assert tiny_absorbed.facts.method == "ridge"
    assert "relu" in " ".join(tiny_absorbed.facts.why_not_exact)


def test_no_hidden_states_are_left_on_disk(tiny_absorbed):
    assert not list(tiny_absorbed.folder.rglob("*.npy"))


def test_absorbed_student_is_closer_to_the_teacher_than_the_backbone(
    tiny_absorbed, tiny_backbone, tiny_teacher, tiny_data, tiny_targets
):
    texts = read_split(tiny_data.folder, "validation").texts
    tokenizer = load_tokenizer(tiny_backbone, max_length=16)
    examples = encode(tokenizer, texts, max_length=16)
    teacher = read_soft_targets(tiny_targets.folder, texts)

    def distance(checkpoint):
        model = load_model(checkpoint, OBJECTIVE, labels=tiny_data.facts.labels, seed=0)
        take_head(model, load_file(tiny_teacher.folder / "teacher.safetensors"))
        return np.abs(compute_outputs(model, OBJECTIVE, tokenizer, examples) - teacher).mean()

    absorbed = Checkpoint(folder=tiny_absorbed.folder, digest="")
    assert distance(absorbed) < distance(tiny_backbone)


@pytest.mark.parametrize(
    ("adapter", "exact", "width"), [(LINEAR, "free", 0), (PARALLEL, "always", 8)]
)
def test_foldable_adapters_are_folded_exactly(
    tiny_absorb, tiny_finetune, tiny_backbone, logits_of, adapter, exact, width
):
    teacher = tiny_finetune(adapter=adapter, epochs=1)

    absorbed = tiny_absorb(teacher=teacher, exact=exact)

    student = stock(absorbed)
    assert (absorbed.facts.method, absorbed.facts.extra_units) == ("exact", width)
    assert absorbed.facts.sites == ()
    assert absorbed.facts.held_out["agreement"] == 1.0
    assert student.config.intermediate_size == stock(tiny_backbone).config.intermediate_size + width
    expected = logits_of(load_teacher(tiny_backbone, teacher.folder))
    np.testing.assert_allclose(logits_of(student), expected, atol=1e-5)


@pytest.mark.parametrize(("adapter", "exact"), [(LINEAR, "never"), (PARALLEL, "free")])
def test_fold_that_is_not_wanted_is_a_regression(tiny_absorb, tiny_finetune, adapter, exact):
    facts = tiny_absorb(teacher=tiny_finetune(adapter=adapter, epochs=1), exact=exact).facts

    assert (facts.method, facts.extra_units, facts.why_not_exact) == ("ridge", 0, ())


def test_student_with_some_layers_absorbs_the_others(
    tiny_absorb, tiny_teacher, tiny_backbone, logits_of
):
    absorbed = tiny_absorb(layers=(0,))

    student = stock(absorbed)
    dropped = load_teacher(tiny_backbone, tiny_teacher.folder)
    expected = logits_of(dropped)
    dropped.bert.encoder.layer = torch.nn.ModuleList([dropped.bert.encoder.layer[0]])
    assert student.config.num_hidden_layers == 1
    assert [(fit.layer, fit.site) for fit in absorbed.facts.sites] == [(0, "attention"), (0, "ffn")]
    gap = np.abs(logits_of(student) - expected).mean()
    assert gap < np.abs(logits_of(dropped) - expected).mean()


def test_extra_units_bring_the_student_closer(tiny_absorb, tiny_absorbed, tiny_backbone):
    absorbed = tiny_absorb(extra_units=16)

    width = stock(tiny_backbone).config.intermediate_size
    assert stock(absorbed).config.intermediate_size == width + 16
    assert absorbed.facts.extra_units == 16
    pairs = zip(absorbed.facts.sites, tiny_absorbed.facts.sites, strict=True)
    assert all(wide.r2 >= plain.r2 - 0.02 for wide, plain in pairs)


def test_layer_that_does_not_exist_is_refused(tiny_absorb, tmp_path):
    with pytest.raises(InputError, match="the backbone has the layers 0 to 1, found"):
        tiny_absorb(layers=(0, 7), store=Store(root=tmp_path))


def test_too_few_texts_are_refused(absorb_texts, texts):
    with pytest.raises(InputError, match="at least 8 texts, found 7"):
        absorb_texts(texts=texts[:7])


def test_few_tokens_are_warned_of(absorb_texts, texts, caplog):
    absorb_texts(texts=texts[:8])

    assert "tokens for regressions on 64 inputs are few" in caplog.text


def test_teacher_without_adapters_is_refused(tiny_absorb, tiny_head_only, tmp_path):
    with pytest.raises(InputError, match="no adapters: there is nothing to absorb"):
        tiny_absorb(teacher=tiny_head_only, store=Store(root=tmp_path))


def test_broken_teacher_is_refused(absorb_texts, tiny_teacher, tmp_path):
    from safetensors.torch import save_file

    folder = shutil.copytree(tiny_teacher.folder, tmp_path / "teacher")
    tensors = load_file(folder / "teacher.safetensors")
    name = next(name for name in tensors if ".up.weight" in name)
    tensors[name][0, 0] = float("nan")
    save_file(tensors, folder / "teacher.safetensors")

    with pytest.raises(InputError, match="are not finite"):
        absorb_texts(teacher=folder)


def test_alone_it_gives_what_the_chain_gives(
    tiny_teacher, tiny_absorbed, texts, logits_of, tmp_path
):
    facts = absorb_alone(
        tiny_teacher.folder, texts, tmp_path / "new" / "student", AbsorbConfig(batch_size=8)
    )

    assert facts.sites == tiny_absorbed.facts.sites
    assert (facts.held_out_texts, tiny_absorbed.facts.held_out_texts) == ("given", "validation")
    student = stock(tmp_path / "new" / "student")
    np.testing.assert_allclose(logits_of(student), logits_of(stock(tiny_absorbed)), atol=1e-6)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["student"]


def test_alone_it_never_overwrites(tiny_teacher, texts, tmp_path):
    with pytest.raises(InputError, match="exists already"):
        absorb_alone(tiny_teacher.folder, texts, tmp_path, AbsorbConfig())


def test_alone_it_refuses_another_backbone(
    tiny_teacher, tiny_checkpoint, tiny_classifier, texts, tmp_path
):
    other = shutil.copytree(tiny_checkpoint, tmp_path / "other")
    tiny_classifier("bert", num_labels=2, seed=5).save_pretrained(other)
    out = tmp_path / "student"

    with pytest.raises(InputError, match="was not trained on the backbone"):
        absorb_alone(tiny_teacher.folder, texts, out, AbsorbConfig(), backbone=str(other))

    assert not out.exists()


def test_alone_it_leaves_nothing_half_written(tiny_teacher, texts, tmp_path):
    with pytest.raises(InputError, match="at least 8 texts"):
        absorb_alone(tiny_teacher.folder, texts[:2], tmp_path / "student", AbsorbConfig())

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("broken", ["missing", "not a description"])
def test_folder_that_is_no_teacher_is_refused(tiny_teacher, texts, tmp_path, broken):
    folder = shutil.copytree(tiny_teacher.folder, tmp_path / "teacher")
    (folder / "teacher.json").write_text(json.dumps({"labels": []}))
    if broken == "missing":
        (folder / "teacher.json").unlink()

    with pytest.raises(InputError, match="is not a teacher"):
        absorb_alone(folder, texts, tmp_path / "student", AbsorbConfig())


def test_checkpoint_is_found_again_by_its_reference(tiny_checkpoint, monkeypatch):
    monkeypatch.chdir(tiny_checkpoint.parent)
    found = find_checkpoint(ModelConfig(model=tiny_checkpoint.name))

    monkeypatch.chdir("/")
    assert find_checkpoint(ModelConfig(model=found.reference)).digest == found.digest


@pytest.mark.gpu
def test_held_out_r2_on_a_gpu_is_that_of_the_cpu(tiny_context, tiny_data, tiny_teacher, tmp_path):
    if not torch.cuda.is_available():
        pytest.skip("there is no GPU here")
    found = []
    for device in ("cpu", "cuda"):
        compute = find_compute(ComputeConfig(device=device))
        settings = AbsorbSettings(
            context=replace(tiny_context, compute=compute),
            absorb=AbsorbConfig(batch_size=8),
            layers=None,
        )
        (tmp_path / device).mkdir()
        facts = absorb(tiny_data, None, tiny_teacher, settings, tmp_path / device)
        found.append([site.r2 for site in facts.sites])

    assert found[1] == pytest.approx(found[0], abs=1e-4)


def test_batches_that_do_not_fit_are_halved_and_the_student_stays_the_same(
    tiny_absorb, tiny_context, tiny_data, tiny_teacher, tmp_path, caplog
):
    def fit_four(module, arguments):
        is_norm = isinstance(module, torch.nn.LayerNorm) and arguments[0].ndim == 3
        if is_norm and len(arguments[0]) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")

    expected = tiny_absorb().facts
    settings = AbsorbSettings(context=tiny_context, absorb=AbsorbConfig(batch_size=8), layers=None)
    handle = register_module_forward_pre_hook(fit_four)
    try:
        facts = absorb(tiny_data, None, tiny_teacher, settings, tmp_path)
    finally:
        handle.remove()

    assert "absorb: memory ran out with 8 texts per batch" in caplog.text
    assert "outputs: memory ran out with" in caplog.text
    assert [site.r2 for site in facts.sites] == pytest.approx(
        [site.r2 for site in expected.sites], abs=2e-4
    )
    assert facts.held_out == pytest.approx(expected.held_out, abs=1e-4)
