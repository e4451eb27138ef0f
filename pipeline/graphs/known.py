"""Graphs that this process traced before, without their weights.

Tracing is the most expensive part of an export, and costs the same for any weights. A backbone and
its student have the same nodes. So the second reuses the first one's graph with its own weights.
"""

import json
from collections.abc import Callable, Hashable

import onnx_ir
from onnx_ir.passes.common import ClearMetadataAndDocStringPass
from onnx_ir.tensor_adapters import TorchTensor
from torch import Tensor, nn
from torch.onnx import ONNXProgram
from transformers import PreTrainedModel

_MOST = 8
"""Number of graphs that are kept, which take a few hundred KB each."""
_TOLD_BY_CONFIG = {"torch", "transformers"}
"""Packages with modules that the model's config and the shapes of its weights fully describe."""
_NAMES = ("_name_or_path", "architectures", "id2label", "label2id")
"""Fields of a config that shape no node."""
_known: dict[str, onnx_ir.Model] = {}


def graph_of(
    module: nn.Module,
    model: PreTrainedModel,
    settings: Hashable,
    trace: Callable[[], ONNXProgram | None],
) -> onnx_ir.Model:
    """Return a graph with the model's weights, traced unless one of the same nodes is known.

    Args:
        module: Module to trace, whose names the graph's weights have.
        model: Model in the module.
        settings: Further settings that shape the nodes.
        trace: Function that traces ``module`` without optimising the graph.
    """
    weights = _weights(module)
    key = _key(model, weights, (type(module).__qualname__, settings))
    nodes = _known.pop(key, None) or _nodes(trace(), weights)
    if _is_told_by_config(model):
        _known[key] = nodes
    if len(_known) > _MOST:
        _known.pop(next(iter(_known)))
    graph = nodes.clone()
    for name, value in graph.graph.initializers.items():
        if name in weights:
            value.const_value = TorchTensor(weights[name], name=name)
    program = ONNXProgram(graph, None)
    program.optimize()
    # The exporter writes this machine's source paths into every node.
    ClearMetadataAndDocStringPass()(program.model)
    return program.model


def _is_told_by_config(model: nn.Module) -> bool:
    """Return whether a model is plain. An adapter has numbers that are only in its code."""
    packages = {type(each).__module__.partition(".")[0] for each in model.modules()}
    return packages <= _TOLD_BY_CONFIG


def _key(model: PreTrainedModel, weights: dict[str, Tensor], settings: Hashable) -> str:
    config = {key: value for key, value in model.config.to_dict().items() if key not in _NAMES}
    shapes = {name: (*each.shape, str(each.dtype)) for name, each in weights.items()}
    parts = [type(model).__qualname__, config, shapes, settings]
    return json.dumps(parts, sort_keys=True, default=str)


def _nodes(program: ONNXProgram | None, weights: dict[str, Tensor]) -> onnx_ir.Model:
    """Return a traced graph that holds no weights."""
    if program is None:
        raise RuntimeError("torch.onnx.export returned no program")
    for name, value in program.model.graph.initializers.items():
        if name in weights:
            value.const_value = None
    return program.model


def _weights(module: nn.Module) -> dict[str, Tensor]:
    """Return every parameter and buffer by each of its names."""
    parameters = dict(module.named_parameters(remove_duplicate=False))
    found = parameters | dict(module.named_buffers(remove_duplicate=False))
    return {name: each.detach() for name, each in found.items()}
