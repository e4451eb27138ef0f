from functools import partial

import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModelForSequenceClassification

from models.absorption.extra_units import fit_units, set_units, widen_ffn
from models.architectures.dense import Dense, weight_of
from models.architectures.table import ARCHITECTURES, architecture_of

ALL_ARCHITECTURES = pytest.mark.parametrize(
    "model_type",
    sorted(
        name for name, entry in ARCHITECTURES.items() if not (entry.gated or entry.shared_layers)
    ),
)


def planted(tokens=6000, hidden_size=16, units=6, *, seed=0):
    """Return hidden states, and the sum of some GELU units of them less its best linear fit."""
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(tokens, hidden_size, generator=generator)
    weight = torch.randn(units, hidden_size, generator=generator) / hidden_size**0.5
    output = torch.randn(hidden_size, units, generator=generator)
    target = F.gelu(2 * hidden @ weight.T) @ output.T
    design = F.pad(hidden, (0, 1), value=1.0)
    return hidden, target - design @ torch.linalg.lstsq(design, target).solution


def random_units(units=8, hidden_size=32, *, seed=1):
    generator = torch.Generator().manual_seed(seed)
    weight, output = torch.randn(2, units, hidden_size, generator=generator)
    bias = torch.randn(units, generator=generator)
    return Dense(weight, bias), Dense(output.T, torch.ones(hidden_size))


def r2(fitted, hidden, error):
    ffn_input, ffn_output = fitted
    found = F.gelu(hidden @ ffn_input.weight.T + ffn_input.bias)
    found = found @ ffn_output.weight.T + ffn_output.bias
    return 1 - ((error - found).square().sum() / error.square().sum()).item()


def ffn_of(layer, architecture):
    return [layer.get_submodule(path) for path in (architecture.ffn_input, architecture.ffn_output)]


@ALL_ARCHITECTURES
def test_new_units_do_nothing_yet(tiny_classifier, token_batch, model_type):
    student = tiny_classifier(model_type)
    architecture = architecture_of(model_type)
    batch = token_batch(student, (5, 9))
    with torch.no_grad():
        expected = student(**batch).logits

        widen_ffn(student, architecture, 8)

        torch.testing.assert_close(student(**batch).logits, expected)
    # LayerNorm would hide an equal weight everywhere, so equal logits are not enough.
    outputs = [ffn_of(layer, architecture)[1] for layer in architecture.layers(student.base_model)]
    assert not any(weight_of(dense)[:, -8:].any() for dense in outputs)


@ALL_ARCHITECTURES
def test_widened_model_survives_saving(tiny_classifier, token_batch, tmp_path, model_type):
    student = tiny_classifier(model_type)
    architecture = architecture_of(model_type)
    batch = token_batch(student, (5, 9))
    widen_ffn(student, architecture, 8)
    for layer in architecture.layers(student.base_model):
        set_units(layer, architecture, *random_units())

    student.save_pretrained(tmp_path)
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()

    assert getattr(again.config, architecture.ffn_size_setting) == 64 + 8
    assert torch.equal(again(**batch).logits, student(**batch).logits)


@ALL_ARCHITECTURES
def test_widened_layers_say_their_size_and_keep_precision_and_freezing(tiny_classifier, model_type):
    student = tiny_classifier(model_type).double()
    architecture = architecture_of(model_type)
    layers = architecture.layers(student.base_model)
    layers[0].requires_grad_(False)

    widen_ffn(student, architecture, 8)

    for layer, trains in zip(layers, (False, True), strict=False):
        ffn_input, ffn_output = ffn_of(layer, architecture)
        assert ffn_input(torch.ones(5, 32).double()).shape == (5, 72)
        assert ffn_output(torch.ones(5, 72).double()).shape == (5, 32)
        assert weight_of(ffn_input).shape == (72, 32)
        assert weight_of(ffn_output).shape == (32, 72)
        assert ffn_input.bias.shape == (72,)
        parameters = [*ffn_input.parameters(), *ffn_output.parameters()]
        assert all(p.dtype == torch.float64 for p in parameters)
        assert all(p.requires_grad == trains for p in parameters)


@ALL_ARCHITECTURES
def test_set_units_add_their_sum_to_the_ffns_output(tiny_classifier, model_type):
    student = tiny_classifier(model_type)
    architecture = architecture_of(model_type)
    widen_ffn(student, architecture, 8)
    layer = architecture.layers(student.base_model)[0]
    ffn_input, ffn_output = random_units()
    hidden = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(2))

    def ffn():
        first, second = ffn_of(layer, architecture)
        return second(F.gelu(first(hidden)))

    before = ffn()
    set_units(layer, architecture, ffn_input, ffn_output)

    added = F.gelu(hidden @ ffn_input.weight.T + ffn_input.bias) @ ffn_output.weight.T + 1
    assert added.abs().max() > 1
    torch.testing.assert_close(ffn(), before + added, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("model_type", "why"),
    [("llama", "products of two dense layers"), ("albert", "one layer is run several times")],
)
def test_units_that_can_not_be_fitted_are_not_added(tiny_classifier, model_type, why):
    student = tiny_classifier(model_type)

    with pytest.raises(ValueError, match=why):
        widen_ffn(student, architecture_of(model_type), 8)

    assert student.config.intermediate_size == 64


def test_planted_units_are_found_where_a_linear_fit_finds_nothing():
    hidden, error = planted()

    fitted = fit_units(hidden[:5000], error[:5000], activation=F.gelu, units=12, seed=0)

    assert r2(fitted, hidden[5000:], error[5000:]) > 0.8


def test_units_are_fitted_to_tokens_that_weigh_most():
    hidden, error = planted()
    other = planted(seed=1)[1]
    weights = torch.ones(6000)
    weights[3000:] = 0.01
    mixed = torch.cat([error[:3000], other[3000:]])

    weighted, alike = (
        fit_units(hidden, mixed, each, activation=F.gelu, units=6, seed=0)
        for each in (weights, None)
    )

    heavy = hidden[:3000], error[:3000]
    assert r2(weighted, *heavy) > r2(alike, *heavy) + 0.1


def test_more_units_come_closer():
    hidden, error = planted()
    few, many = (
        fit_units(hidden[:5000], error[:5000], activation=F.gelu, units=units, seed=0)
        for units in (2, 12)
    )

    assert r2(many, hidden[5000:], error[5000:]) > r2(few, hidden[5000:], error[5000:]) + 0.1


def test_nothing_is_found_in_noise():
    generator = torch.Generator().manual_seed(0)
    hidden, noise = torch.randn(2, 600, 16, generator=generator)

    assert fit_units(hidden, noise, activation=F.gelu, units=64, seed=0) is None


def test_same_seed_gives_the_same_units_and_leaves_torchs_own_alone():
    hidden, error = planted(tokens=2000)
    fit = partial(fit_units, hidden, error, activation=F.gelu, units=4, steps=100)
    before = torch.random.get_rng_state()

    first, second, other = fit(seed=3), fit(seed=3), fit(seed=4)

    assert torch.equal(torch.random.get_rng_state(), before)
    for one, same, different in zip(first, second, other, strict=True):
        assert torch.equal(one.weight, same.weight)
        assert torch.equal(one.bias, same.bias)
        assert not torch.equal(one.weight, different.weight)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("broken", [0, 1])
def test_values_that_are_not_finite_are_refused(broken, value):
    data = planted(tokens=100)
    data[broken][3, 2] = value

    with pytest.raises(ValueError, match="expected finite"):
        fit_units(*data, activation=F.gelu, units=4, seed=0)


def test_equal_tokens_without_error_need_no_units():
    hidden, error = torch.ones(50, 16), torch.zeros(50, 16)

    assert fit_units(hidden, error, activation=F.gelu, units=4, seed=0, steps=5) is None


def test_a_single_token_is_refused():
    with pytest.raises(ValueError, match=r"at least two tokens.* found 1"):
        fit_units(*torch.ones(2, 1, 16), activation=F.gelu, units=4, seed=0)


@pytest.mark.parametrize("units", [0, -1])
def test_widening_by_nothing_is_refused(tiny_classifier, units):
    with pytest.raises(ValueError, match=f"at least one unit.* found {units}"):
        widen_ffn(tiny_classifier("bert"), architecture_of("bert"), units)
