"""Graphs that this process traced before, without their weights.

Tracing is the most expensive part of an export, and costs the same for any weights. A backbone and
its student have the same nodes. The second therefore reuses the first one's graph with its own
weights.
"""

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import onnx_ir
import torch
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Signature:
    """Inputs and outputs of a graph."""

    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    example: tuple[Any, ...]
    """Inputs to trace with: tensors, or lists of them."""
    axes: tuple[Any, ...]
    """Names of the dynamic axes, for each input by axis."""
    opset: int


def graph_of(module: nn.Module, model: PreTrainedModel, signature: Signature) -> onnx_ir.Model:
    """Return a graph with the model's weights, traced unless one of the same nodes is known.

    Args:
        module: Module to trace, whose names the graph's weights have.
        model: Model in the module.
        signature: Inputs and outputs of the module.
    """
    weights = _weights(module)
    key = _key(module, model, weights, signature)
    nodes = _known.pop(key, None) or _trace(module, weights, signature)
    if _is_told_by_config(model):
        _known[key] = nodes
    if len(_known) > _MOST:
        _known.pop(next(iter(_known)))
    graph = nodes.clone()
    for name, value in graph.graph.initializers.items():
        if name in weights:
            value.const_value = TorchTensor(weights[name], name=name)
    program = ONNXProgram(graph, None)
    with _quiet_exporter():
        program.optimize()
    # The exporter writes this machine's source paths into every node.
    ClearMetadataAndDocStringPass()(program.model)
    return program.model


def _is_told_by_config(model: nn.Module) -> bool:
    """Return whether a model is plain. An adapter has numbers that are only in its code."""
    packages = {type(each).__module__.partition(".")[0] for each in model.modules()}
    return packages <= _TOLD_BY_CONFIG


def _key(
    module: nn.Module, model: PreTrainedModel, weights: dict[str, Tensor], signature: Signature
) -> str:
    config = {key: value for key, value in model.config.to_dict().items() if key not in _NAMES}
    shapes = {name: (*each.shape, str(each.dtype)) for name, each in weights.items()}
    kinds = [type(each).__qualname__ for each in (module, model)]
    ends = [signature.input_names, signature.output_names, signature.axes, signature.opset]
    return json.dumps([kinds, config, shapes, ends], sort_keys=True, default=str)


def _trace(module: nn.Module, weights: dict[str, Tensor], signature: Signature) -> onnx_ir.Model:
    """Return a module's graph, not optimised and without weights."""
    with _quiet_exporter():
        program = torch.onnx.export(
            module,
            signature.example,
            input_names=list(signature.input_names),
            output_names=list(signature.output_names),
            dynamic_shapes=signature.axes,
            opset_version=signature.opset,
            dynamo=True,
            optimize=False,
            verbose=False,
        )
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


@contextlib.contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Silence the exporter, which reports its progress on the terminal and warns of itself."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
