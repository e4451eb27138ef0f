import pytest
import torch
import torch.nn.functional as F
from torch import nn
from transformers.activations import ACT2FN

from models.absorption.exact_algebra import (
    fold_parallel,
    fold_sequential,
    parallel_obstacle,
    sequential_obstacle,
    units_needed,
)
from models.adapters.bottleneck import BottleneckAdapter, BottleneckSettings
from models.architectures.dense import Dense

ACTIVATIONS = ("relu", "gelu", "silu", "linear")
WITH_WEIGHTS = {"prelu", "xielu"}
FFN_ACTIVATIONS = sorted(set(ACT2FN) - WITH_WEIGHTS)


def random_adapter(bottleneck_size, activation, *, seed=0, scaling=1.0, **settings):
    torch.manual_seed(seed)
    form = BottleneckSettings(
        bottleneck_size=bottleneck_size,
        activation=activation,
        scaling=scaling,
        dropout=0.5,
        **settings,
    )
    adapter = BottleneckAdapter(6, form)
    for parameter in adapter.parameters():
        nn.init.normal_(parameter)
    return adapter.double().eval()


def random_dense(outputs, inputs, *, seed):
    module = nn.Linear(inputs, outputs, dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        nn.init.normal_(parameter, generator=generator)
    return Dense.of(module)


def random_inputs(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(9))


FFN = random_dense(10, 6, seed=1), random_dense(6, 10, seed=2)


def run_ffn(ffn, x, activation=F.gelu):
    first, second = ffn
    return F.linear(activation(F.linear(x, *first)), *second)


def test_several_parallel_adapters_are_concatenated():
    adapters = [
        random_adapter(3, "gelu", seed=3, scaling=0.5),
        random_adapter(2, "linear", seed=4, scaling=2.0),
        random_adapter(5, "gelu", seed=5),
    ]
    x = random_inputs(4, 6)

    wide = fold_parallel(*FFN, adapters, activation="gelu", units=10 + 3 + 4 + 5)

    changes = sum(adapter.change(x) for adapter in adapters)
    torch.testing.assert_close(run_ffn(wide, x), run_ffn(FFN, x) + changes)
    assert [tuple(dense.weight.shape) for dense in wide] == [(22, 6), (6, 22)]


def test_units_that_no_adapter_needs_are_zeros():
    (first, first_bias), (second, _) = fold_parallel(
        *FFN, [random_adapter(3, "gelu")], activation="gelu", units=20
    )

    assert (first.shape, first_bias.shape, second.shape) == ((20, 6), (20,), (6, 20))
    assert first[:13].all()
    assert second[:, :13].all()
    assert not any(tensor.any() for tensor in (first[13:], first_bias[13:], second[:, 13:]))


def test_too_few_units_are_refused():
    with pytest.raises(ValueError, match="at least 13 FFN units, found 12"):
        fold_parallel(*FFN, [random_adapter(3, "gelu")], activation="gelu", units=12)


def test_several_sequential_adapters_are_folded_in_their_order():
    dense = random_dense(6, 10, seed=1)
    first = random_adapter(3, "linear", seed=2, scaling=0.5)
    second = random_adapter(4, "linear", seed=3)
    x = random_inputs(4, 10)

    folded = fold_sequential(dense, [first, second])

    h = F.linear(x, *dense)
    h = first(h, h)
    torch.testing.assert_close(F.linear(x, *folded), second(h, h))


def test_sequential_fold_by_hand():
    dense = Dense(torch.tensor([[1.0], [2.0]]), torch.tensor([0.0, 1.0]))
    form = BottleneckSettings(bottleneck_size=1, activation="linear", scaling=2.0)
    adapter = BottleneckAdapter(2, form)
    with torch.no_grad():
        adapter.down.weight.copy_(torch.tensor([[1.0, 1.0]]))
        adapter.down.bias.fill_(0.5)
        adapter.up.weight.copy_(torch.tensor([[1.0], [-1.0]]))
        adapter.up.bias.copy_(torch.tensor([0.25, 0.0]))

    folded = fold_sequential(dense, [adapter])

    # I + 2 (1, -1)' (1, 1) = [[3, 2], [-2, -1]]; what a zero input gives: (2, -1) + 2 (0.75, -0.5).
    torch.testing.assert_close(folded.weight, torch.tensor([[7.0], [-4.0]]))
    torch.testing.assert_close(folded.bias, torch.tensor([3.5, -2.0]))


def test_folding_nothing_changes_no_bit():
    folded = (fold_sequential(FFN[0], []), *fold_parallel(*FFN, [], activation="gelu", units=10))

    for found, expected in zip(folded, (FFN[0], *FFN), strict=True):
        assert torch.equal(found.weight, expected.weight)
        assert torch.equal(found.bias, expected.bias)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("ffn_activation", FFN_ACTIVATIONS)
def test_parallel_fold_is_exact_or_refused(ffn_activation, activation):
    adapter = random_adapter(3, activation)
    units = 10 + units_needed(adapter, ffn_activation)
    x = random_inputs(50, 6)

    if parallel_obstacle(adapter, ffn_activation):
        with pytest.raises(ValueError, match=f"'{activation}' is no sum of units of this FFN"):
            fold_parallel(*FFN, [adapter], activation=ffn_activation, units=units)
        return
    wide = fold_parallel(*FFN, [adapter], activation=ffn_activation, units=units)

    function = ACT2FN[ffn_activation]
    expected = run_ffn(FFN, x, function) + adapter.change(x)
    torch.testing.assert_close(run_ffn(wide, x, function), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("activation", "ffn_activations"),
    [
        ("relu", {"relu"}),
        ("gelu", {"gelu", "gelu_python"}),
        ("silu", {"silu", "swish"}),
        ("linear", {"linear"}),
    ],
)
def test_activation_is_the_ffns_by_any_of_its_names(activation, ffn_activations):
    adapter = random_adapter(3, activation)

    assert {n for n in ACT2FN if units_needed(adapter, n) == 3} == ffn_activations


@pytest.mark.parametrize("ffn_activation", ["relu", "silu", "hardswish", "gelu", "gelu_new"])
def test_linear_parallel_adapter_needs_twice_its_units(ffn_activation):
    assert units_needed(random_adapter(3, "linear"), ffn_activation) == 6


@pytest.mark.parametrize(
    "ffn_activation", ["tanh", "mish", "leaky_relu", "gelu_10", *sorted(WITH_WEIGHTS)]
)
def test_linear_parallel_adapter_is_no_sum_of_other_units(ffn_activation):
    assert units_needed(random_adapter(3, "linear"), ffn_activation) == 0


@pytest.mark.parametrize(
    ("settings", "name"),
    [({"norm_after": True}, "a LayerNorm of its own"), ({"gate": True}, "a gate")],
)
def test_adapter_with_more_than_projections_is_refused(settings, name):
    adapter = random_adapter(3, "linear", **settings)

    assert name in sequential_obstacle(adapter)
    assert name in parallel_obstacle(adapter, "gelu")


@pytest.mark.parametrize("scaling", ["learned", "channel"])
def test_learned_scaling_is_folded(scaling):
    adapter = random_adapter(3, "linear", scaling=scaling)
    x = random_inputs(4, 10)

    folded = fold_sequential(FFN[1], [adapter])

    given = F.linear(x, *FFN[1])
    torch.testing.assert_close(F.linear(x, *folded), adapter(given, given))


@pytest.mark.parametrize("activation", ["relu", "gelu", "silu"])
def test_sequential_adapter_that_is_not_linear_is_refused(activation):
    adapter = random_adapter(3, activation)

    assert f"activation is {activation!r}" in sequential_obstacle(adapter)
    with pytest.raises(ValueError, match=f"only if it is linear. .* is '{activation}'"):
        fold_sequential(FFN[1], [adapter])
