import copy

import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModelForSequenceClassification

from models.architectures import ARCHITECTURES, architecture_of
from models.dense_folds import Dense
from models.widening import fit_units, set_units, widen_ffn

MODEL_TYPES = sorted(ARCHITECTURES)


def planted(tokens=6000, hidden_size=16, units=6, *, seed=0):
    """Return hidden states, and the sum of some GELU units of them less its best linear fit."""
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(tokens, hidden_size, generator=generator)
    weight = torch.randn(units, hidden_size, generator=generator) / hidden_size**0.5
    output = torch.randn(hidden_size, units, generator=generator)
    target = F.gelu(2 * hidden @ weight.T) @ output.T
    design = F.pad(hidden, (0, 1), value=1.0)
    return hidden, target - design @ torch.linalg.lstsq(design, target).solution


def r2(fitted, hidden, error):
    ffn_input, ffn_output = fitted
    found = F.gelu(hidden @ ffn_input.weight.T + ffn_input.bias)
    found = found @ ffn_output.weight.T + ffn_output.bias
    return 1 - ((error - found).square().sum() / error.square().sum()).item()


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_new_units_do_nothing_yet(tiny_classifier, token_batch, model_type, tmp_path):
    student = tiny_classifier(model_type)
    architecture = architecture_of(model_type)
    batch = token_batch(student, (5, 9))
    with torch.no_grad():
        expected = student(**batch).logits

    widen_ffn(student, architecture, 8)

    assert getattr(student.config, architecture.ffn_size_setting) == 64 + 8
    student.save_pretrained(tmp_path)
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        torch.testing.assert_close(student(**batch).logits, expected)
        torch.testing.assert_close(again(**batch).logits, expected)


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_set_units_add_their_sum_to_the_ffns_output(tiny_classifier, model_type):
    student = tiny_classifier(model_type)
    architecture = architecture_of(model_type)
    widen_ffn(student, architecture, 8)
    layer = architecture.layers(student.base_model)[0]
    before = copy.deepcopy(layer)
    generator = torch.Generator().manual_seed(1)
    ffn_input = Dense(torch.randn(8, 32, generator=generator), torch.randn(8, generator=generator))
    ffn_output = Dense(torch.randn(32, 8, generator=generator), torch.ones(32))
    hidden = torch.randn(2, 5, 32, generator=generator)

    set_units(layer, architecture, ffn_input, ffn_output)

    def total(module):
        units = F.gelu(module.get_submodule(architecture.ffn_input)(hidden))
        return module.get_submodule(architecture.ffn_output)(units)

    added = F.gelu(hidden @ ffn_input.weight.T + ffn_input.bias) @ ffn_output.weight.T + 1
    torch.testing.assert_close(total(layer), total(before) + added, rtol=1e-4, atol=1e-4)


def test_planted_units_are_found_where_a_linear_fit_finds_nothing():
    hidden, error = planted()

    fitted = fit_units(hidden[:5000], error[:5000], activation=F.gelu, units=12, seed=0)

    assert r2(fitted, hidden[5000:], error[5000:]) > 0.8


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
    hidden, error = planted(tokens=500)
    before = torch.random.get_rng_state()

    first, second = (fit_units(hidden, error, activation=F.gelu, units=4, seed=3) for _ in range(2))

    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(a.weight, b.weight) for a, b in zip(first, second, strict=True))


def test_values_that_are_not_finite_are_refused():
    hidden, error = planted(tokens=100)
    error[3, 2] = float("nan")

    with pytest.raises(ValueError, match="expected finite"):
        fit_units(hidden, error, activation=F.gelu, units=4, seed=0)


def test_widening_by_nothing_is_refused(tiny_classifier):
    with pytest.raises(ValueError, match="at least one unit"):
        widen_ffn(tiny_classifier("bert"), architecture_of("bert"), 0)
