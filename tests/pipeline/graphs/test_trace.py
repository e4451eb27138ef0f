"""Parity of ONNX and torch, architecture by architecture and composition by composition."""

import dataclasses

import pytest
import torch

from models.adapters.composition import Average, Fuse, Stack, Weighted
from models.adapters.hooks import add_adapter, add_fusion, set_active, settings_of
from models.adapters.parameter_names import is_adapter_parameter
from models.architectures.table import ARCHITECTURES, architecture_of
from pipeline.config import ExportConfig
from pipeline.graphs.trace import Traced, write_graph

PLAIN = settings_of("pfeiffer", bottleneck_size=8)
FORMS = {
    "houlsby": settings_of("houlsby", bottleneck_size=8),
    "parallel": settings_of("parallel", bottleneck_size=8),
    "before the norm": dataclasses.replace(PLAIN, sees="normalised"),
    "behind the norm": dataclasses.replace(PLAIN, residual="seen", after_norm=True),
    "gate and norms": dataclasses.replace(
        PLAIN, form=dataclasses.replace(PLAIN.form, gate=True, norm_before=True, norm_after=True)
    ),
    "compacter": dataclasses.replace(
        PLAIN, form=dataclasses.replace(PLAIN.form, kronecker_factors=4)
    ),
    "invertible": dataclasses.replace(PLAIN, invertible=2),
}
COMPOSITIONS = {
    "stack": Stack(("a", "b")),
    "average": Average(("a", "b"), (0.25, 0.75)),
    "weigh": Weighted(("a", "b")),
    "fuse": Fuse(("a", "b")),
    "fusion in a stack": Stack(("a", Fuse(("a", "b")))),
}
QUICK = ("llama", "fuse")
"""Cases that are not slow: a decoder, and the composition with most operators."""


def cases(names):
    return [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.fixture
def parity(tiny_classifier, token_batch, tmp_path):
    """``parity(model_type, adapters, active)``: how far ONNX is from torch, in the worst case."""

    def parity(model_type, adapters, active):
        # One layer; the first of ModernBERT is of its own kind.
        layers = 2 if architecture_of(model_type).first_layer_differs else 1
        model = tiny_classifier(model_type, num_hidden_layers=layers)
        architecture = architecture_of(model_type)
        for name, settings in adapters.items():
            add_adapter(model.base_model, architecture, name, settings)
        add_fusion(model.base_model, active)
        torch.manual_seed(0)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if is_adapter_parameter(name):
                    parameter.normal_(std=0.3)
            batch = token_batch(model, (9, 5))
            plain = model(**batch).logits
            set_active(model.base_model, active)
            assert not torch.allclose(model(**batch).logits, plain, atol=1e-2)
        traced = Traced(model=model, name="teacher", output_names=("logits",), max_length=40)
        checks = write_graph(traced, tmp_path / "model.onnx", ExportConfig())
        return max(check.max_abs_difference / check.tolerance for check in checks)

    return parity


@pytest.mark.parametrize("model_type", cases(sorted(ARCHITECTURES)))
def test_teacher_of_every_architecture_is_equal_in_onnx(parity, model_type):
    assert parity(model_type, {"a": FORMS["houlsby"]}, "a") <= 1


@pytest.mark.parametrize("form", cases(FORMS))
def test_every_form_of_adapter_is_equal_in_onnx(parity, form):
    assert parity("bert", {"a": FORMS[form]}, "a") <= 1


@pytest.mark.parametrize("composition", cases(COMPOSITIONS))
def test_every_composition_is_equal_in_onnx(parity, composition):
    adapters = {"a": FORMS["houlsby"], "b": FORMS["before the norm"]}

    assert parity("bert", adapters, COMPOSITIONS[composition]) <= 1
