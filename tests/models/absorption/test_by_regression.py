import copy
import signal
import tempfile
from pathlib import Path

import pytest
import torch
from transformers import BatchEncoding

from models.absorption import layerwise
from models.absorption.by_regression import absorb_adapters
from models.absorption.extra_units import widen_ffn
from models.absorption.walk import AbsorptionPlan
from models.adapters.bottleneck import BottleneckSettings
from models.adapters.composition import Average, Fuse
from models.adapters.hooks import add_adapter, add_fusion, insert_adapters, set_active, settings_of
from models.adapters.parameter_names import is_adapter_parameter
from models.adapters.site import AdapterSettings
from models.architectures.dense import bias_of
from models.architectures.table import ARCHITECTURES, architecture_of
from models.student import adapter_traces, add_biases

MODEL_TYPES = sorted(ARCHITECTURES)
HELD_OUT = [False, False, False, True]


@pytest.fixture
def four_batches(token_batch):
    """Batches of 2080 tokens in all, far more than the 65 unknowns of a regression."""

    def make(model, width=None):
        lengths = (20, 12, *[16] * 30)
        return [token_batch(model, lengths, seed=seed, width=width) for seed in range(4)]

    return make


def perturb(model, path, *, seed=0):
    """Add noise to a dense layer's weight and bias: a change that absorption can undo exactly."""
    dense = model.base_model.get_submodule(path)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in dense.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)


def with_adapters(model, kind="houlsby", *, std=0.1, seed=0):
    teacher = copy.deepcopy(model)
    architecture = architecture_of(model.config.model_type)
    insert_adapters(teacher.base_model, architecture, settings_of(kind=kind, bottleneck_size=4))
    randomise(teacher, std=std, seed=seed)
    return teacher


@torch.no_grad()
def randomise(teacher, *, std=0.1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in teacher.named_parameters():
        if is_adapter_parameter(name):
            parameter.copy_(std * torch.randn(parameter.shape, generator=generator))


def run(teacher, student, batches, held_out=HELD_OUT, on_layer=lambda: None, **options):
    architecture = architecture_of(student.config.model_type)
    counting = [architecture.sequence_head.counting(batch["attention_mask"]) for batch in batches]
    plan = AbsorptionPlan(held_out=held_out, counting=counting, **options)
    with tempfile.TemporaryDirectory() as scratch:
        return absorb_adapters(
            teacher, student, architecture, batches, plan, scratch=Path(scratch), on_layer=on_layer
        )


@torch.no_grad()
def gap(teacher, student, batch):
    """Return the root mean squared difference of the logits."""
    return (teacher(**batch).logits - student(**batch).logits).square().mean().sqrt().item()


def first_layer(model):
    return architecture_of(model.config.model_type).layers(model.base_model)[0]


def weights_of(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("site", ["attention_output", "ffn_output"])
@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_change_of_a_dense_layer_is_absorbed_exactly(
    tiny_classifier, four_batches, token_batch, model_type, site
):
    student = tiny_classifier(model_type)
    architecture = architecture_of(model_type)
    teacher = copy.deepcopy(student)
    perturb(teacher, f"{architecture.layer_list}.0.{getattr(architecture, site)}")
    unseen = token_batch(student, (11, 17), seed=9)
    before = gap(teacher, student, unseen)

    run(teacher, student, four_batches(student))

    assert before > 1e-2
    assert gap(teacher, student, unseen) < 1e-4


@pytest.mark.parametrize("kind", ["houlsby", "pfeiffer", "parallel"])
@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_random_adapters_are_mostly_absorbed(
    tiny_classifier, four_batches, token_batch, model_type, kind
):
    student = tiny_classifier(model_type)
    teacher = with_adapters(student, kind)
    unseen = token_batch(student, (11, 17, 14, 20), seed=9)
    before = gap(teacher, student, unseen)

    fits = run(teacher, student, four_batches(student))

    # Without a bias in the dense layers, what the adapters' own biases do is lost.
    if bias_of(architecture_of(model_type).dense(first_layer(student), "ffn")) is not None:
        assert gap(teacher, student, unseen) < before / 2
    assert all(fit.r2 > 0.1 for fit in fits if fit.site == "ffn")
    assert adapter_traces(student) == []


@pytest.mark.parametrize("model_type", ["llama", "modernbert"])
def test_biases_take_what_the_adapters_own_do(
    tiny_classifier, four_batches, token_batch, model_type, tmp_path
):
    bare, student = tiny_classifier(model_type), tiny_classifier(model_type)
    add_biases(student, architecture_of(model_type))
    teacher = with_adapters(bare)
    unseen = token_batch(bare, [16] * 32, seed=9)
    before = gap(teacher, bare, unseen)
    assert gap(teacher, student, unseen) == before

    run(teacher, student, four_batches(student))
    run(teacher, bare, four_batches(bare))

    assert gap(teacher, student, unseen) < gap(teacher, bare, unseen)
    assert gap(teacher, student, unseen) < before / 2
    student.save_pretrained(tmp_path)
    again = type(student).from_pretrained(tmp_path).eval()
    assert torch.equal(again(**unseen).logits, student(**unseen).logits)


IMPORTED = {
    "seq_bn": AdapterSettings(
        form=BottleneckSettings(bottleneck_size=4), attention=False, ffn=True, sees="normalised"
    ),
    "behind the norm": AdapterSettings(
        form=BottleneckSettings(bottleneck_size=4, scaling="channel"),
        attention=False,
        ffn=True,
        after_norm=True,
    ),
    "gate": AdapterSettings(
        form=BottleneckSettings(bottleneck_size=4, gate=True), attention=True, ffn=True
    ),
}


@pytest.mark.parametrize("case", IMPORTED)
@pytest.mark.parametrize("mix", [None, Average, Fuse])
def test_imported_adapters_and_their_compositions_are_mostly_absorbed(
    tiny_classifier, four_batches, token_batch, case, mix
):
    student = tiny_classifier("bert")
    teacher = copy.deepcopy(student)
    for name in ("a", "b"):
        add_adapter(teacher.base_model, architecture_of("bert"), name, IMPORTED[case])
    composition = mix(("a", "b")) if mix else "a"
    add_fusion(teacher.base_model, composition)
    set_active(teacher.base_model, composition)
    randomise(teacher)
    unseen = token_batch(student, (11, 17, 14, 20), seed=9)
    before = gap(teacher, student, unseen)

    run(teacher, student, four_batches(student))

    assert gap(teacher, student, unseen) < before / 2


def test_only_the_dense_layers_of_the_student_change(tiny_classifier, four_batches):
    student = tiny_classifier("bert")
    teacher = with_adapters(student)
    student_before, teacher_before = weights_of(student), weights_of(teacher)

    run(teacher, student, four_batches(student))

    changed = {n for n, t in weights_of(student).items() if not torch.equal(t, student_before[n])}
    assert changed == {
        f"bert.encoder.layer.{layer}.{dense}.{kind}"
        for layer in (0, 1)
        for dense in ("attention.output.dense", "output.dense")
        for kind in ("weight", "bias")
    }
    assert all(torch.equal(t, teacher_before[n]) for n, t in weights_of(teacher).items())


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_student_that_equals_its_teacher_keeps_every_bit(tiny_classifier, four_batches, model_type):
    student = tiny_classifier(model_type)
    teacher = with_adapters(student, std=0.0)
    before = weights_of(student)

    fits = run(teacher, student, four_batches(student))

    layers = architecture_of(model_type).layers(student.base_model)
    assert [(fit.r2, fit.ridge) for fit in fits] == [(0.0, 0.0)] * 2 * len(layers)
    assert all(torch.equal(t, before[name]) for name, t in weights_of(student).items())


def test_site_before_the_first_adapter_keeps_every_bit(tiny_classifier, four_batches):
    student = tiny_classifier("bert")
    dense = student.bert.encoder.layer[0].attention.output.dense
    before = weights_of(dense)

    fits = run(with_adapters(student, "pfeiffer"), student, four_batches(student))

    assert (fits[0].site, fits[0].r2) == ("attention", 0.0)
    assert all(torch.equal(t, before[name]) for name, t in weights_of(dense).items())


def test_fits_are_reported_in_forward_order(tiny_classifier, four_batches):
    student = tiny_classifier("bert")
    finished = []

    fits = run(
        with_adapters(student),
        student,
        four_batches(student),
        on_layer=lambda: finished.append(len(finished)),
    )

    sites = [(fit.layer, fit.site) for fit in fits]
    assert sites == [(0, "attention"), (0, "ffn"), (1, "attention"), (1, "ffn")]
    assert all(0.9 < fit.r2 <= 1 and 0 < fit.ridge <= 1 for fit in fits)
    assert finished == [0, 1]


def test_held_out_r2_is_the_part_of_the_gap_that_is_gone(tiny_classifier, four_batches):
    student = tiny_classifier("bert")
    teacher = copy.deepcopy(student)
    perturb(teacher, "encoder.layer.1.output.dense")

    fits = run(teacher, student, four_batches(student))

    assert [fit.r2 for fit in fits[:3]] == [0.0, 0.0, 0.0]
    assert fits[3].r2 == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_length_of_the_padding_does_not_matter(
    tiny_classifier, four_batches, token_batch, model_type
):
    student = tiny_classifier(model_type)
    teacher, other = with_adapters(student), copy.deepcopy(student)

    run(teacher, student, four_batches(student))
    run(teacher, other, four_batches(other, width=40))

    assert gap(student, other, token_batch(student, (11, 17), seed=9)) < 1e-4


def test_ids_of_the_padding_do_not_matter(tiny_classifier, four_batches, token_batch):
    student = tiny_classifier("bert")
    teacher, other = with_adapters(student), copy.deepcopy(student)
    batches = four_batches(student)
    odd = [
        BatchEncoding(
            {**batch, "input_ids": batch["input_ids"].masked_fill(batch["attention_mask"] == 0, 77)}
        )
        for batch in batches
    ]

    run(teacher, student, batches)
    run(teacher, other, odd)

    assert gap(student, other, token_batch(student, (11, 17), seed=9)) < 1e-4


@pytest.mark.filterwarnings("ignore:invalid value encountered")
@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
@pytest.mark.parametrize("of_teacher", [True, False])
def test_activations_that_are_not_finite_are_refused(
    tiny_classifier, four_batches, of_teacher, broken
):
    student = tiny_classifier("bert")
    teacher = copy.deepcopy(student)
    model = teacher if of_teacher else student
    with torch.no_grad():
        model.bert.encoder.layer[1].output.dense.bias[3] = broken

    with pytest.raises(ValueError, match="layer 1, ffn, are not finite"):
        run(teacher, student, four_batches(student))


@pytest.fixture
def no_endless_loop():
    """Fail the test instead of hanging in it."""

    def stop(*_):
        raise AssertionError("the search for a strength does not end")

    previous = signal.signal(signal.SIGALRM, stop)
    signal.alarm(5)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, previous)


@pytest.mark.usefixtures("no_endless_loop")
@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_activations_whose_squares_overflow_do_no_harm(tiny_classifier, token_batch):
    student = tiny_classifier("bert")
    layer = student.bert.encoder.layer[0]
    with torch.no_grad():  # units of about 1e21, whose squares no single precision holds
        for parameter in layer.intermediate.dense.parameters():
            parameter *= 1e21
        layer.output.dense.weight *= 1e-21
    teacher = copy.deepcopy(student)
    with torch.no_grad():
        teacher.bert.encoder.layer[0].output.dense.bias[0] += 0.1

    fits = run(teacher, student, [token_batch(student, (9, 7), seed=seed) for seed in range(4)])

    assert len(fits) == 4
    assert all(tensor.isfinite().all() for tensor in weights_of(student).values())


@pytest.mark.parametrize("held_out", [[False] * 4, [True] * 4])
def test_batches_of_one_kind_only_are_refused(tiny_classifier, four_batches, held_out):
    student = tiny_classifier("bert")

    with pytest.raises(ValueError, match="one kind only"):
        run(with_adapters(student), student, four_batches(student), held_out)


def test_no_hook_is_left_behind_in_the_teacher(tiny_classifier, four_batches):
    student = tiny_classifier("bert")
    teacher = with_adapters(student)
    before = adapter_traces(teacher)

    run(teacher, student, four_batches(student))

    assert adapter_traces(teacher) == before


def test_extra_units_explain_what_the_regression_leaves_over(tiny_classifier, four_batches):
    narrow = tiny_classifier("bert")
    teacher = with_adapters(narrow, std=0.3)
    wide = copy.deepcopy(narrow)
    widen_ffn(wide, architecture_of("bert"), 32)
    batches = four_batches(narrow)

    plain = run(teacher, narrow, batches)
    extra = run(teacher, wide, batches, extra_units=32)

    assert extra[1].r2 > plain[1].r2
    assert gap(teacher, wide, batches[0]) < gap(teacher, narrow, batches[0])


def test_hidden_states_on_disk_give_the_same_student(tiny_classifier, four_batches, monkeypatch):
    student = tiny_classifier("bert")
    teacher, other = with_adapters(student), copy.deepcopy(student)
    written = []
    save = layerwise.Spill._write_far
    monkeypatch.setattr(
        layerwise.Spill, "_write_far", lambda *given: (written.append(given), save(*given))
    )

    monkeypatch.setattr(layerwise, "NEAR_BYTES", 10**9)
    run(teacher, student, four_batches(student))
    assert not written
    monkeypatch.setattr(layerwise, "NEAR_BYTES", 100_000)
    run(teacher, other, four_batches(other))

    assert written
    assert all(torch.equal(t, weights_of(other)[n]) for n, t in weights_of(student).items())
