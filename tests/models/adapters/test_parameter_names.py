import pytest

from models.adapters.parameter_names import (
    is_adapter_parameter,
    is_composition_parameter,
    renamed_parameter,
)

SITE = "bert.encoder.layer.0.output.dense"


@pytest.mark.parametrize(
    ("name", "of_adapters", "of_composition"),
    [
        (f"{SITE}.weight", False, False),
        (f"{SITE}.adapter.adapters.fusions.down.weight", True, False),
        (f"{SITE}.adapter.fusions.a,b.value.weight", True, True),
        (f"{SITE}.adapter.weights.a,b.logits", True, True),
        ("bert.embeddings.adapter.couplings.a.first.up.bias", True, False),
        ("classifier.weight", False, False),
    ],
)
def test_names_tell_what_a_parameter_belongs_to(name, of_adapters, of_composition):
    assert is_adapter_parameter(name) is of_adapters
    assert is_composition_parameter(name) is of_composition


@pytest.mark.parametrize(
    ("name", "renamed"),
    [
        (f"{SITE}.adapter.adapters.down.down.weight", f"{SITE}.adapter.adapters.b.down.weight"),
        (
            "bert.embeddings.adapter.couplings.down.first",
            "bert.embeddings.adapter.couplings.b.first",
        ),
        (f"{SITE}.adapter.adapters.c.down.weight", None),
        (f"{SITE}.adapter.weights.down.logits", None),
        (f"{SITE}.weight", None),
    ],
)
def test_only_an_adapters_own_parameters_follow_its_name(name, renamed):
    assert renamed_parameter(name, "down", "b") == renamed
