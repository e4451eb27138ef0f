import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from transformers import AutoModelForSequenceClassification

from models.absorption.exact import FoldPlan, fold, plan_fold
from models.adapters.composition import Average, Stack
from models.adapters.hooks import add_adapter, insert_adapters, set_active, settings_of
from models.adapters.parameter_names import is_adapter_parameter
from models.architectures.dense import weight_of
from models.architectures.table import ARCHITECTURES, architecture_of
from models.student import adapter_traces

# Those whose dense layers have biases and whose FFN has no gates.
MODEL_TYPES = sorted(set(ARCHITECTURES) - {"llama", "mistral", "modernbert", "qwen2", "qwen3"})
CASES = [
    ("houlsby", "linear"),
    ("pfeiffer", "linear"),
    ("parallel", "gelu"),
    ("parallel", "linear"),
]
ALL_FOLDS = pytest.mark.parametrize(("kind", "activation"), CASES)
ALL_ARCHITECTURES = pytest.mark.parametrize("model_type", MODEL_TYPES)


def adapt(model, kind, activation, *, name="task", **settings):
    """Return a copy of a model with random adapters."""
    teacher = copy.deepcopy(model)
    architecture = architecture_of(model.config.model_type)
    form = settings_of(**{"kind": kind, "activation": activation, "bottleneck_size": 4} | settings)
    insert_adapters(teacher.base_model, architecture, form, name=name)
    randomise(teacher)
    return teacher


@torch.no_grad()
def randomise(teacher):
    generator = torch.Generator().manual_seed(5)
    for name, parameter in teacher.named_parameters():
        if is_adapter_parameter(name):
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))


def fold_of(teacher):
    return fold(teacher, architecture_of(teacher.config.model_type))


def plan_of(teacher):
    return plan_fold(teacher, architecture_of(teacher.config.model_type))


def ffns_of(model):
    architecture = architecture_of(model.config.model_type)
    paths = architecture.ffn_input, architecture.ffn_output
    layers = architecture.layers(model.base_model)
    return [tuple(layer.get_submodule(path) for path in paths) for layer in layers]


@pytest.fixture
def gap(token_batch):
    """``gap(model, other)``: the largest difference of logits, relative to the largest logit."""

    @torch.no_grad()
    def gap(model, other):
        batch = token_batch(model, (9, 5, 7, 20))
        expected = model(**batch).logits
        return ((other(**batch).logits - expected).abs().max() / expected.abs().max()).item()

    return gap


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@ALL_FOLDS
@ALL_ARCHITECTURES
def test_folded_model_has_the_teachers_logits(
    tiny_classifier, gap, model_type, kind, activation, dtype, limit
):
    plain = tiny_classifier(model_type).to(dtype)
    teacher = adapt(plain, kind, activation)

    student = fold_of(teacher)

    assert gap(teacher, plain) > 1e-2
    assert gap(teacher, student) < limit
    assert student.dtype == dtype


@pytest.mark.parametrize(
    ("kind", "activation", "units"),
    [(*case, units) for case, units in zip(CASES, (0, 0, 4, 8), strict=True)],
)
@ALL_ARCHITECTURES
def test_plan_tells_the_width_of_the_folded_model(
    tiny_classifier, model_type, kind, activation, units
):
    teacher = adapt(tiny_classifier(model_type), kind, activation)

    plan = plan_of(teacher)

    assert plan == FoldPlan(extra_units=units, obstacles=())
    assert (plan.possible, plan.free) == (True, units == 0)
    for ffn_input, ffn_output in ffns_of(fold_of(teacher)):
        assert weight_of(ffn_input).shape == (64 + units, 32)
        assert weight_of(ffn_output).shape == (32, 64 + units)


@ALL_FOLDS
@ALL_ARCHITECTURES
def test_folded_model_is_a_stock_model_that_survives_saving(
    tiny_classifier, token_batch, tmp_path, model_type, kind, activation
):
    teacher = adapt(tiny_classifier(model_type), kind, activation)
    student = fold_of(teacher)
    batch = token_batch(teacher, (9, 5, 7))

    student.save_pretrained(tmp_path)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()

    assert type(loaded) is type(student) is type(teacher)
    assert adapter_traces(student) == []
    assert torch.equal(loaded(**batch).logits, student(**batch).logits)


@ALL_FOLDS
def test_folding_leaves_teacher_and_random_numbers_alone(tiny_classifier, kind, activation):
    teacher = adapt(tiny_classifier("bert"), kind, activation)
    tensors = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    config, traces = teacher.config.to_dict(), adapter_traces(teacher)
    random = torch.get_rng_state()

    student = fold_of(teacher)
    for parameter in student.parameters():
        nn.init.zeros_(parameter)

    assert all(torch.equal(t, tensors[name]) for name, t in teacher.state_dict().items())
    assert (teacher.config.to_dict(), adapter_traces(teacher)) == (config, traces)
    assert torch.equal(torch.get_rng_state(), random)


@pytest.mark.parametrize(
    ("kind", "activation", "changed"),
    [
        ("houlsby", "linear", {"attention.output.dense", "output.dense"}),
        ("pfeiffer", "linear", {"output.dense"}),
        ("parallel", "gelu", {"intermediate.dense", "output.dense"}),
    ],
)
def test_only_the_dense_layers_at_the_sites_change(tiny_classifier, kind, activation, changed):
    teacher = adapt(tiny_classifier("bert"), kind, activation)

    before, after = teacher.state_dict(), fold_of(teacher).state_dict()

    assert {name for name, tensor in after.items() if not torch.equal(tensor, before[name])} == {
        f"bert.encoder.layer.{layer}.{path}.{tensor}"
        for layer in (0, 1)
        for path in changed
        for tensor in ("weight", "bias")
    }


@pytest.mark.parametrize("scaling", [0.25, 3.0])
@ALL_FOLDS
def test_scaling_is_folded(tiny_classifier, gap, kind, activation, scaling):
    plain = tiny_classifier("bert").double()
    teacher = adapt(plain, kind, activation, scaling=scaling)

    student = fold_of(teacher)

    assert gap(teacher, adapt(plain, kind, activation)) > 1e-2
    assert gap(teacher, student) < 1e-12


@ALL_ARCHITECTURES
def test_sequential_and_parallel_adapters_in_one_layer_are_folded(tiny_classifier, gap, model_type):
    teacher = adapt(tiny_classifier(model_type).double(), "houlsby", "linear", name="a")
    teacher = adapt(teacher, "parallel", "gelu", bottleneck_size=3, name="b")
    set_active(teacher, Stack(("a", "b")))

    assert plan_of(teacher).extra_units == 3
    assert gap(teacher, fold_of(teacher)) < 1e-12


@pytest.mark.parametrize(
    ("model_type", "setting"), [("bert", "hidden_act"), ("distilbert", "activation")]
)
def test_ffn_with_another_activation_than_gelu(tiny_classifier, gap, model_type, setting):
    teacher = adapt(tiny_classifier(model_type, **{setting: "relu"}).double(), "parallel", "relu")

    assert plan_of(teacher).extra_units == 4
    assert gap(teacher, fold_of(teacher)) < 1e-12


@pytest.mark.parametrize("model_type", sorted(set(MODEL_TYPES) - {"albert"}))
def test_layers_with_smaller_adapters_are_filled_up_with_zeros(tiny_classifier, gap, model_type):
    teacher = tiny_classifier(model_type).double()
    settings = replace(settings_of("parallel", bottleneck_size=4, activation="gelu"), sizes={1: 7})
    add_adapter(teacher.base_model, architecture_of(model_type), "task", settings)
    set_active(teacher, "task")
    randomise(teacher)

    student = fold_of(teacher)

    assert plan_of(teacher).extra_units == 7
    assert gap(teacher, student) < 1e-12
    (_, first_output), (_, second_output) = ffns_of(student)
    assert weight_of(first_output)[:, :68].all()
    assert not weight_of(first_output)[:, 68:].any()
    assert weight_of(second_output).all()


@pytest.mark.parametrize(
    ("model_type", "kind", "activation", "reason"),
    [
        ("llama", "houlsby", "linear", "without a bias"),
        ("llama", "parallel", "silu", "gated FFN"),
        ("modernbert", "parallel", "gelu", "gated FFN"),
    ],
)
def test_layers_that_can_not_hold_an_adapter_are_told(
    tiny_classifier, model_type, kind, activation, reason
):
    teacher = adapt(tiny_classifier(model_type), kind, activation)

    assert reason in " ".join(plan_of(teacher).obstacles)


def test_model_without_adapters_folds_to_its_own_copy(tiny_classifier, token_batch):
    plain = tiny_classifier("bert").train()

    student = fold_of(plain)

    batch = token_batch(plain, (9, 5))
    assert plan_of(plain).free
    assert not student.training
    assert torch.equal(student(**batch).logits, plain.eval()(**batch).logits)


@pytest.mark.parametrize("activation", ["relu", "gelu", "silu"])
@pytest.mark.parametrize("kind", ["houlsby", "pfeiffer"])
@ALL_ARCHITECTURES
def test_sequential_adapter_that_is_not_linear_is_refused(
    tiny_classifier, model_type, kind, activation
):
    teacher = adapt(tiny_classifier(model_type), kind, activation)

    plan = plan_of(teacher)

    assert plan.obstacles == (
        "A sequential adapter folds into the dense layer before it only if it is linear. This "
        f"one's activation is {activation!r}.",
    )
    assert (plan.possible, plan.free, plan.extra_units) == (False, False, 0)
    with pytest.raises(ValueError, match=f"no exact fold. .* activation is '{activation}'"):
        fold_of(teacher)


@pytest.mark.parametrize(
    ("ffn", "adapter"),
    [("gelu", "relu"), ("relu", "gelu"), ("gelu_new", "gelu"), ("tanh", "linear")],
)
def test_parallel_adapter_that_is_no_sum_of_units_is_refused(tiny_classifier, ffn, adapter):
    teacher = adapt(tiny_classifier("bert", hidden_act=ffn), "parallel", adapter)

    plan = plan_of(teacher)

    assert plan.obstacles == (
        f"A parallel adapter with the activation {adapter!r} is no sum of units of this FFN, whose "
        f"activation is {ffn!r}.",
    )
    assert (plan.possible, plan.free, plan.extra_units) == (False, False, 0)
    with pytest.raises(ValueError, match=f"no exact fold. .* activation is '{ffn}'"):
        fold_of(teacher)


def test_all_obstacles_are_told_at_once(tiny_classifier):
    teacher = adapt(tiny_classifier("bert"), "houlsby", "silu", name="a")
    teacher = adapt(teacher, "parallel", "relu", name="b")
    set_active(teacher, Stack(("a", "b")))

    starts = [obstacle.split(" adapter")[0] for obstacle in plan_of(teacher).obstacles]

    assert starts == ["A sequential", "A parallel"]


def test_adapter_of_another_class_is_refused(tiny_classifier):
    teacher = tiny_classifier("bert")
    teacher.bert.encoder.layer[0].output.dense.add_module("adapter", nn.Identity())

    with pytest.raises(TypeError, match="found Identity"):
        plan_of(teacher)


def test_adapters_that_are_mixed_are_refused(tiny_classifier):
    teacher = adapt(tiny_classifier("bert"), "pfeiffer", "linear", name="a")
    teacher = adapt(teacher, "pfeiffer", "linear", name="b")
    set_active(teacher, Average(("a", "b")))

    assert plan_of(teacher).obstacles == ("Adapters fold exactly alone or stacked, not mixed.",)


def test_adapter_that_is_switched_off_is_not_folded(tiny_classifier, gap):
    plain = tiny_classifier("bert").double()
    teacher = adapt(plain, "houlsby", "silu")
    set_active(teacher, None)

    assert gap(plain, fold_of(teacher)) == 0
