"""Computation of an ONNX graph without its weights: a proof of equal cost that needs no clock.

Two graphs with the same canonical hash run the same operators on tensors of the same shapes. They
therefore cost the same up to noise. A student with the plain backbone's hash has no adapter left.
Neither a name nor a timing can hide one. The hash follows the data flow. It describes a value by
its operator with attributes, over the values that are the operator's inputs. This is Weisfeiler and
Leman's refinement on a graph without cycles. The hash ignores names and the order of independent
nodes. Weights enter it by type and shape, constants that steer shapes by value.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from math import prod
from pathlib import Path
from typing import Any

import onnx
from onnx import AttributeProto, GraphProto, ModelProto, TensorProto, helper, numpy_helper

from pipeline.errors import InputError, refusing
from pipeline.facts.latency import Graph
from pipeline.graphs.multiply_adds import count_multiply_adds
from pipeline.inference.cache import PAST, POSITIONS
from pipeline.inference.tokens import INPUTS
from pipeline.store.digests import sha256_file

_STEERING = (TensorProto.INT64, TensorProto.BOOL)
"""Types of shapes, axes and indices; INT32 is left out, as it is a quantised layer's bias."""
_LARGEST_STEERING = 64
_INTEGER_INPUTS = (TensorProto.INT64, TensorProto.INT32)
_ADAPTER = "adapter"


def describe_graph(path: Path, *, batch: int = 1, length: int = 16) -> Graph:
    """Return the structure of an ONNX text classifier.

    Args:
        path: ONNX file.
        batch: Number of texts in the call whose multiply-adds are counted.
        length: Number of tokens per text.

    Raises:
        InputError: when the file is missing, is not ONNX, or takes inputs that are no token ids.
    """
    model = load_graph(path)
    with refusing(f"Cannot make sense of the graph in {path}", "Export the model anew."):
        operators = Counter(_operator(node) for node in _nodes(model.graph))
        weights = [tensor for tensor in model.graph.initializer if _is_weight(tensor)]
        return Graph(
            hash=canonical_hash(model),
            sha256=sha256_file(path),
            size_bytes=path.stat().st_size + sum(_external_sizes(model, path)),
            operators=dict(sorted(operators.items())),
            parameters=sum(prod(tensor.dims) for tensor in weights),
            multiply_adds=count_multiply_adds(model, batch=batch, length=length),
            adapter_traces=tuple(sorted(_traces(model))),
        )


def load_graph(path: Path) -> ModelProto:
    """Return a text classifier's graph, without loading weights outside the file.

    Raises:
        InputError: when the file is missing, is not ONNX, or takes inputs that are no token ids.
    """
    if not path.is_file():
        raise InputError(
            f"{path} does not exist. Give an ONNX file, or a folder with onnx/model.onnx."
        )
    with refusing(f"{path} is not an ONNX file", "Export the model anew."):
        model = onnx.load(path, load_external_data=False)
        _check_classifier(model, path)
    return model


def _check_classifier(model: ModelProto, path: Path) -> None:
    """Refuse a graph that is no text classifier."""
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = {each.name: each.type.tensor_type for each in model.graph.input}
    inputs = {name: kind for name, kind in inputs.items() if name not in weights}
    if not model.graph.node or not model.graph.output:
        raise InputError(f"{path} is not an ONNX file: it has no graph. Export the model anew.")
    wrong = [name for name, kind in inputs.items() if not _is_known(name, kind)]
    if wrong or INPUTS[0] not in inputs:
        raise InputError(
            f"{path} is not a model that can be measured: expected the inputs "
            f"{', '.join(INPUTS)} (integers, batch x tokens; the last two may be missing), found "
            f"{', '.join(inputs) or 'none'}. A language model also has {POSITIONS} and "
            f"{PAST}N.key|value. Export it with these inputs."
        )


# Any: protobuf has no types.
def _is_known(name: str, kind: Any) -> bool:
    """Return whether a benchmark can fill an input of this name and type."""
    if name.startswith(PAST):
        return bool(kind.elem_type == TensorProto.FLOAT and len(kind.shape.dim) == 4)
    is_integer = kind.elem_type in _INTEGER_INPUTS and len(kind.shape.dim) == 2
    return is_integer and name in (*INPUTS, POSITIONS)


def has_cache(model: ModelProto) -> bool:
    """Return whether a graph is a language model with a key-value cache."""
    return any(each.name.startswith(PAST) for each in model.graph.input)


def canonical_hash(model: ModelProto) -> str:
    """Return 16 hex digits, equal for graphs that differ only in names, order and weights."""
    opsets = sorted((entry.domain, entry.version) for entry in model.opset_import)
    functions = sorted(
        _digest(function.domain, function.name, *_hash_nodes(function.node, dict(given)))
        for function in model.functions
        for given in [{name: f"argument {at}" for at, name in enumerate(function.input)}]
    )
    return _digest(opsets, functions, _hash_graph(model.graph, {}))[:16]


def vocabulary_size(model: ModelProto) -> int | None:
    """Return the number of token ids of a graph, which is the number of rows of its word table."""
    rows = {tensor.name: tensor.dims[0] for tensor in model.graph.initializer if tensor.dims}
    sizes = [
        rows[node.input[0]]
        for node in model.graph.node
        if node.op_type == "Gather" and node.input[1:2] == [INPUTS[0]] and node.input[0] in rows
    ]
    return min(sizes, default=None)


def _hash_graph(graph: GraphProto, outer: Mapping[str, str]) -> str:
    """Return the digest of a graph; ``outer`` has the values that a subgraph sees."""
    weights = {tensor.name: _hash_tensor(tensor) for tensor in graph.initializer}
    inputs = {}
    for at, each in enumerate(entry for entry in graph.input if entry.name not in weights):
        dims = [dim.dim_value for dim in each.type.tensor_type.shape.dim]
        inputs[each.name] = _digest("input", at, each.type.tensor_type.elem_type, dims)
    values = {**outer, **inputs, **weights}
    nodes = _hash_nodes(graph.node, values)
    outputs = [values.get(each.name, "") for each in graph.output]
    # Weights enter where they are used, because exporters store equal ones (zero biases) once.
    return _digest(list(inputs.values()), sorted(nodes), outputs)


def _hash_nodes(nodes: Iterable[onnx.NodeProto], values: dict[str, str]) -> list[str]:
    """Return the digest of every node but constants, and add each node's outputs to ``values``."""
    digests = []
    for node in nodes:
        attributes = sorted(_digest(a.name, _hash_attribute(a, values)) for a in node.attribute)
        if node.op_type == "Constant":
            # Equal to an initializer, because exporters and optimizers turn one into the other.
            values[node.output[0]] = _hash_attribute(node.attribute[0], values)
            continue
        inputs = [values.get(name, "") for name in node.input]
        digest = _digest(_operator(node), attributes, inputs, len(node.output))
        digests.append(digest)
        values |= {name: _digest(digest, at) for at, name in enumerate(node.output)}
    return digests


def _hash_attribute(attribute: AttributeProto, values: Mapping[str, str]) -> str:
    value = helper.get_attribute_value(attribute)
    if attribute.type == AttributeProto.GRAPH:
        return _hash_graph(value, values)
    if attribute.type == AttributeProto.GRAPHS:
        return _digest(*(_hash_graph(each, values) for each in value))
    if attribute.type == AttributeProto.TENSOR:
        return _hash_tensor(value)
    return _digest(attribute.type, value if isinstance(value, bytes | int | float) else list(value))


def _hash_tensor(tensor: TensorProto) -> str:
    content = numpy_helper.to_array(tensor).tolist() if _is_steering(tensor) else None
    return _digest("weights", tensor.data_type, list(tensor.dims), content)


def _is_steering(tensor: TensorProto) -> bool:
    """Return whether a constant's values shape the computation, and were not learned."""
    small = prod(tensor.dims) <= _LARGEST_STEERING
    inside = tensor.data_location != TensorProto.EXTERNAL
    return tensor.data_type in _STEERING and small and inside


def _is_weight(tensor: TensorProto) -> bool:
    """Return whether a tensor was learned, unlike an index, a constant or a scale."""
    added = tensor.name.endswith(("_scale", "_zero_point"))  # the quantizers' naming
    return tensor.data_type not in _STEERING and len(tensor.dims) > 0 and not added


def _operator(node: onnx.NodeProto) -> str:
    return f"{node.domain}.{node.op_type}" if node.domain else node.op_type


def _nodes(graph: GraphProto) -> Iterable[onnx.NodeProto]:
    """Yield the nodes of a graph and of its subgraphs."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _nodes(inner)


def _traces(model: ModelProto) -> set[str]:
    """Return the names of weights and nodes that mention an adapter."""
    names = {tensor.name for tensor in model.graph.initializer}
    names |= {node.name for node in _nodes(model.graph)}
    return {name for name in names if _ADAPTER in name.lower()}


def _external_sizes(model: ModelProto, path: Path) -> Iterable[int]:
    """Yield the sizes of the files that hold weights beside the graph."""
    locations = {
        entry.value
        for tensor in model.graph.initializer
        for entry in tensor.external_data
        if entry.key == "location"
    }
    for location in locations:
        file = path.parent / location
        if not file.resolve().is_relative_to(path.parent.resolve()) or not file.is_file():
            raise InputError(
                f"{path} keeps weights in {location}, which is not a file beside it. Copy the "
                "model with all its files."
            )
        yield file.stat().st_size


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()
