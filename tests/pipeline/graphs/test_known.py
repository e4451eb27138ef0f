"""Graphs that are known: each model has its own weights, and only equal nodes are shared."""

import pytest
import torch
from torch.onnx import ONNXProgram

from models.adapters.hooks import add_adapter, set_active, settings_of
from models.architectures.table import architecture_of
from pipeline.config import ExportConfig
from pipeline.graphs import known
from pipeline.graphs.known import Signature, graph_of
from pipeline.graphs.trace import Traced, write_graph


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch):
    monkeypatch.setattr(known, "_known", {})


@pytest.fixture
def model(tiny_classifier):
    """``model(seed, **config)``: a tiny model of one layer with random weights of its own."""

    def model(seed, **config):
        found = tiny_classifier("bert", num_hidden_layers=1, **config)
        torch.manual_seed(seed)
        with torch.no_grad():
            for parameter in found.parameters():
                parameter.normal_(std=0.3)
        return found

    return model


class TracedError(Exception):
    """A model was to be traced."""


def signature(opset=20):
    """Return the inputs and outputs that `program` has."""
    return Signature(
        input_names=("x",),
        output_names=("y",),
        example=(torch.ones(1, 2),),
        axes=({0: "batch"},),
        opset=opset,
    )


@pytest.fixture
def is_traced(monkeypatch):
    """``is_traced(model, opset)``: whether its nodes are not known yet."""

    def is_traced(model, opset=20):
        def export(*_, **__):
            raise TracedError

        with monkeypatch.context() as patch:
            patch.setattr(torch.onnx, "export", export)
            try:
                graph_of(model, model, signature(opset))
            except TracedError:
                return True
        return False

    return is_traced


@pytest.fixture(scope="module")
def program():
    """A product as a graph, which is quickly traced."""
    linear = torch.nn.Linear(2, 2).eval()
    return torch.onnx.export(linear, (torch.ones(1, 2),), dynamo=True, optimize=False)


@pytest.fixture
def tell_nodes(program, monkeypatch):
    """``tell_nodes(model)``: lets its nodes be known; they are those of `program`."""

    def tell_nodes(model):
        with monkeypatch.context() as patch:
            nodes = ONNXProgram(program.model.clone(), None)
            patch.setattr(torch.onnx, "export", lambda *_, **__: nodes)
            graph_of(model, model, signature())

    return tell_nodes


def test_models_of_one_shape_are_traced_once_and_keep_their_weights(model, tmp_path, monkeypatch):
    files = []
    for seed in (0, 1, 0):
        traced = Traced(model=model(seed), name="student", output_names=("logits",), max_length=16)
        path = tmp_path / "model.onnx"
        write_graph(traced, path, ExportConfig())  # and proves it equal to torch
        files.append(path.read_bytes())
        monkeypatch.setattr(torch.onnx, "export", None)  # the next is not traced

    assert files[0] == files[2] != files[1]
    (nodes,) = known._known.values()
    assert nodes.graph.initializers["model.classifier.weight"].const_value is None


@pytest.mark.parametrize(
    ("config", "opset", "is_other"),
    [
        ({}, 20, False),
        ({"id2label": {0: "no", 1: "yes"}}, 20, False),
        ({"hidden_act": "relu"}, 20, True),
        ({"layer_norm_eps": 1e-3}, 20, True),
        ({"intermediate_size": 48}, 20, True),
        ({}, 18, True),
    ],
    ids=str,
)
def test_what_shapes_the_nodes_is_traced_again(
    model, is_traced, tell_nodes, config, opset, is_other
):
    tell_nodes(model(0))

    assert is_traced(model(1, **config), opset) is is_other


def test_adapters_are_never_taken_for_known(model, is_traced, tell_nodes):
    teacher = model(0)
    settings = settings_of("pfeiffer", bottleneck_size=8)
    add_adapter(teacher.base_model, architecture_of("bert"), "a", settings)
    set_active(teacher.base_model, "a")
    tell_nodes(teacher)

    assert is_traced(teacher)
    assert known._known == {}


def test_the_oldest_of_too_many_is_forgotten(model, is_traced, tell_nodes, monkeypatch):
    monkeypatch.setattr(known, "_MOST", 2)
    models = [model(0, intermediate_size=size) for size in (8, 16, 24)]
    for each in models:
        tell_nodes(each)

    assert [is_traced(each) for each in models] == [True, False, False]
