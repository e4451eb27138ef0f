import numpy as np
import pytest
import torch
from torch import nn

from models.architectures.table import ARCHITECTURES, architecture_of
from models.units import Units, to_label_unit, to_standard_units, units_of

LABELS = np.array([180.0, 200.0, 240.0, 300.0])
WITHOUT_BIAS = ("gpt2", "llama", "mistral", "qwen2", "qwen3")


@pytest.fixture
def regressor(tiny_classifier):
    """``regressor(model_type)``: a random model of one output, in double precision; its head."""

    def regressor(model_type):
        model = tiny_classifier(model_type, num_labels=1).double()
        return model, architecture_of(model_type).sequence_head

    return regressor


def test_standardised_labels_have_mean_0_and_deviation_1(regressor):
    units = units_of(LABELS, *regressor("bert"))

    found = units.standardise(LABELS)

    assert found.mean() == pytest.approx(0.0, abs=1e-12)
    assert found.std() == pytest.approx(1.0)


def test_standard_units_by_hand():
    units = Units(mean=200.0, std=50.0)

    assert units.standardise(np.array([100.0, 225.0])).tolist() == [-2.0, 0.5]
    assert units.restore(np.array([-2.0, 0.5])).tolist() == [100.0, 225.0]


@pytest.mark.parametrize("values", [LABELS, torch.tensor(LABELS)], ids=["array", "tensor"])
def test_restoring_undoes_standardising(values):
    units = Units(mean=230.0, std=45.8)

    np.testing.assert_allclose(units.restore(units.standardise(values)), LABELS)


def test_default_units_change_nothing():
    assert Units().standardise(LABELS).tolist() == LABELS.tolist()


def test_labels_that_are_all_equal_have_a_unit(regressor):
    units = units_of(np.array([3.0, 3.0]), *regressor("bert"))

    assert units == Units(mean=3.0, std=1.0)


@pytest.mark.parametrize("model_type", sorted(ARCHITECTURES))
def test_last_dense_layer_of_the_head_makes_the_outputs(regressor, token_batch, model_type):
    model, head = regressor(model_type)
    made = []
    last = model.get_submodule(head.last)
    last.register_forward_hook(lambda *given: made.append(given[-1]))

    with torch.no_grad():
        outputs = model(**token_batch(model, (5, 9))).logits

    assert isinstance(last, nn.Linear)
    assert last.out_features == 1
    # A decoder's head is applied to every token, and one of them is picked.
    assert all((made[-1] == output).any() for output in outputs.flatten())


@pytest.mark.parametrize("model_type", sorted(ARCHITECTURES))
@torch.no_grad()
def test_head_in_standard_units_answers_the_standardised_number(regressor, token_batch, model_type):
    model, head = regressor(model_type)
    batch = token_batch(model, (5, 9, 3))
    before = model(**batch).logits
    units = units_of(LABELS, model, head)

    to_standard_units(model, head, units)

    torch.testing.assert_close(model(**batch).logits, units.standardise(before))


@pytest.mark.parametrize("model_type", sorted(ARCHITECTURES))
@torch.no_grad()
def test_to_standard_units_and_back_is_the_identity(regressor, token_batch, model_type):
    model, head = regressor(model_type)
    batch = token_batch(model, (5, 9, 3))
    before = model(**batch).logits
    units = units_of(LABELS, model, head)

    to_standard_units(model, head, units)
    to_label_unit(model, head, units)

    torch.testing.assert_close(model(**batch).logits, before)


@torch.no_grad()
def test_head_in_the_labels_unit_answers_the_restored_number(regressor, token_batch):
    model, head = regressor("roberta")
    batch = token_batch(model, (5, 9, 3))
    before = model(**batch).logits
    units = units_of(LABELS, model, head)

    to_label_unit(model, head, units)

    torch.testing.assert_close(model(**batch).logits, units.restore(before))


@pytest.mark.parametrize("model_type", WITHOUT_BIAS)
def test_head_without_a_bias_keeps_its_zero(regressor, model_type):
    model, head = regressor(model_type)

    units = units_of(LABELS, model, head)

    assert model.get_submodule(head.last).bias is None
    # The root of (180² + 200² + 240² + 300²) / 4.
    assert units == Units(mean=0.0, std=pytest.approx(55000**0.5))


def test_labels_that_are_all_zero_have_a_unit_without_a_bias(regressor):
    assert units_of(np.zeros(3), *regressor("llama")) == Units(mean=0.0, std=1.0)


def test_only_the_last_dense_layer_changes(regressor):
    model, head = regressor("bert")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    to_label_unit(model, head, Units(mean=3.0, std=2.0))

    changed = {n for n, tensor in model.state_dict().items() if not torch.equal(tensor, before[n])}
    assert changed == {"classifier.weight", "classifier.bias"}


def test_what_is_no_dense_layer_is_refused(regressor):
    model, head = regressor("bert")
    model.classifier = nn.Identity()

    with pytest.raises(TypeError, match="classifier is a Identity, not a dense layer"):
        to_label_unit(model, head, Units())
