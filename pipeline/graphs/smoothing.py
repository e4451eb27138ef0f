"""Rewrites of an ONNX graph that keep its outputs and make rounding to 8 bits harmless.

A dynamically quantised product rounds its input with one scale for the whole tensor. A single large
value therefore costs all others their precision. Two rewrites make the values more even:

- Products after a LayerNorm or an RMSNorm. Channels that are large in every text are divided by a
  constant, and the weight's rows are multiplied by it (Xiao et al., 2022, SmoothQuant,
  https://arxiv.org/abs/2211.10438). An RMSNorm that feeds only such products takes the constant
  into its own weight. A LayerNorm that also feeds a residual sum (post-LN) can't take it. There,
  the constant is one multiplication in the graph.
- Products from a wide input to a narrow output, that is the FFN's output. Their outliers are single
  tokens. Every token is divided by its largest value, and the product multiplied by it.

The attention's output projection needs neither. docs/quantisation.md has the gain of each.

Shapes: K = inputs of a product, N = outputs of a product, T = tokens.
"""

from collections import Counter
from collections.abc import Callable, Mapping

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

_ALPHA = 0.75
"""Share of a channel's spread that moves into the weights. Weights tolerate more spread than
inputs, because they are rounded per column. With 0.5 or 0.9, the error is two to three times as
large."""
_FLOOR = 0.25
"""Least divisor of a token. Values of GELU, SiLU and ReLU are never below minus this number. The
larger of it and a token's largest value therefore bounds the absolute values."""
_AXES_ARE_INPUT = 18
"""Opset from which ReduceMax takes its axes as an input."""


def weighted_products(model: ModelProto) -> dict[str, NodeProto]:
    """Return the MatMul nodes whose right side is a constant matrix, by name."""
    matrices = {t.name for t in model.graph.initializer if len(t.dims) == 2}
    return {
        node.name: node
        for node in model.graph.node
        if node.op_type == "MatMul" and node.input[1] in matrices
    }


def smoothable(model: ModelProto) -> tuple[str, ...]:
    """Return the names of norms' outputs that are inputs of a product with a constant matrix."""
    normalised = {n.output[0] for n in model.graph.node if n.op_type == "LayerNormalization"}
    normalised |= _rms_norms(model).keys()
    inputs = (node.input[0] for node in weighted_products(model).values())
    return tuple(dict.fromkeys(name for name in inputs if name in normalised))


def _rms_norms(model: ModelProto) -> dict[str, NodeProto]:
    """Return the last node of each RMSNorm by its output: ``weight * (x * 1 / sqrt(...))``."""
    vectors = {t.name for t in model.graph.initializer if len(t.dims) == 1}
    roots = {n.output[0] for n in model.graph.node if n.op_type == "Sqrt"}
    reciprocals = {
        n.output[0] for n in model.graph.node if n.op_type == "Reciprocal" and n.input[0] in roots
    }
    products = [node for node in model.graph.node if node.op_type == "Mul"]
    scaled = {node.output[0] for node in products if reciprocals & set(node.input)}
    return {
        node.output[0]: node
        for node in products
        if vectors & set(node.input) and scaled & set(node.input)
    }


def smooth_channels(model: ModelProto, largest: Mapping[str, np.ndarray]) -> None:
    """Divide inputs by a constant per channel and multiply their weights by it, in place.

    Args:
        model: Graph in fp32.
        largest: For each name of `smoothable`, the largest absolute value of every channel, (K,).
    """
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    readers: dict[str, list[NodeProto]] = {}
    for node in weighted_products(model).values():
        if node.input[0] in largest:
            readers.setdefault(node.input[0], []).append(node)
    before: dict[str, list[NodeProto]] = {}
    norms, uses = _rms_norms(model), _count_uses(model)
    for name, nodes in readers.items():
        matrices = {node.input[1]: numpy_helper.to_array(weights[node.input[1]]) for node in nodes}
        scale = _channel_scale(largest[name], list(matrices.values()))  # (K,)
        for weight, matrix in matrices.items():
            scaled = np.ascontiguousarray(matrix * scale[:, None])  # (K, N)
            weights[weight].CopyFrom(numpy_helper.from_array(scaled, weight))
        if name in norms and uses[name] == len(nodes):
            own = next(weights[each] for each in norms[name].input if each in weights)
            if uses[own.name] == 1:
                divided = numpy_helper.to_array(own) / scale
                own.CopyFrom(numpy_helper.from_array(divided.astype(np.float32), own.name))
                continue
        factor, smoothed = f"{name}_smoothing", f"{name}_smoothed"
        model.graph.initializer.append(numpy_helper.from_array(1 / scale, factor))
        before[nodes[0].name] = [helper.make_node("Mul", [name, factor], [smoothed], smoothed)]
        for node in nodes:
            node.input[0] = smoothed
    _insert(model, before, {})


def _count_uses(model: ModelProto) -> Counter[str]:
    """Return how often each value is an input of a node or an output of the graph."""
    uses = Counter(name for node in model.graph.node for name in node.input)
    uses.update(each.name for each in model.graph.output)
    return uses


def scale_tokens(model: ModelProto) -> None:
    """Divide each token by its largest value before a narrowing product, in place."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    axes_are_input = model.opset_import[0].version >= _AXES_ARE_INPUT
    before, after = {}, {}
    for node in weighted_products(model).values():
        inputs, outputs = shapes[node.input[1]]
        if inputs <= outputs:
            continue
        before[node.name], after[node.name] = _token_nodes(node, axes_are_input=axes_are_input)
    constants = [
        numpy_helper.from_array(np.array(_FLOOR, dtype=np.float32), "token_floor"),
        numpy_helper.from_array(np.array([-1], dtype=np.int64), "token_axis"),
    ]
    model.graph.initializer.extend(constants if before else [])
    _insert(model, before, after)


def change_embeddings(
    model: ModelProto, change: Callable[[NodeProto, TensorProto], list[NodeProto]], *, rows: int
) -> None:
    """Replace every look-up in a table of at least so many rows by other nodes, in place.

    Args:
        model: Graph in fp32.
        change: (look-up, its table) -> the nodes in its place. It adds the tables that they need.
        rows: Fewest rows of a table that is replaced.
    """
    tables = {
        tensor.name: tensor
        for tensor in model.graph.initializer
        if len(tensor.dims) == 2 and tensor.dims[0] >= rows
    }
    nodes: list[NodeProto] = []
    changed = []
    for node in model.graph.node:
        if node.op_type == "Gather" and node.input[0] in tables:
            nodes += change(node, tables[node.input[0]])
            changed.append(node.input[0])
        else:
            nodes.append(node)
    _set_nodes(model, nodes)
    used = {name for node in model.graph.node for name in node.input}
    for name in dict.fromkeys(changed):
        if name not in used:
            model.graph.initializer.remove(tables[name])


def _channel_scale(largest: np.ndarray, matrices: list[np.ndarray]) -> np.ndarray:
    """Return SmoothQuant's ``max|x|^a / max|w|^(1-a)`` of each channel, (K,), of mean 1."""
    tiny = 1e-5  # a channel that is always zero, or that no output reads
    inputs = np.maximum(largest, tiny)
    weights = np.maximum(np.max([abs(matrix).max(axis=1) for matrix in matrices], axis=0), tiny)
    scale = inputs**_ALPHA / weights ** (1 - _ALPHA)
    return np.asarray(scale / scale.mean(), dtype=np.float32)


def _token_nodes(
    node: NodeProto, *, axes_are_input: bool
) -> tuple[list[NodeProto], list[NodeProto]]:
    """Return the nodes before a product and after it, and connect the product to them."""
    values, result, name = node.input[0], node.output[0], node.name
    largest, scale, divided, product = (
        f"{name}_{part}" for part in ("largest", "scale", "divided", "product")
    )
    node.input[0], node.output[0] = divided, product
    reduced = [values, "token_axis"] if axes_are_input else [values]
    reduce = helper.make_node("ReduceMax", reduced, [largest], largest, keepdims=1)  # (T, 1)
    if not axes_are_input:
        reduce.attribute.append(helper.make_attribute("axes", [-1]))
    return [
        reduce,
        helper.make_node("Max", [largest, "token_floor"], [scale], scale),
        helper.make_node("Div", [values, scale], [divided], divided),  # (T, K)
    ], [helper.make_node("Mul", [product, scale], [result], f"{name}_multiplied")]  # (T, N)


def _insert(
    model: ModelProto, before: Mapping[str, list[NodeProto]], after: Mapping[str, list[NodeProto]]
) -> None:
    """Put nodes around the named ones."""
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        nodes += [*before.get(node.name, []), node, *after.get(node.name, [])]
    _set_nodes(model, nodes)


def _set_nodes(model: ModelProto, nodes: list[NodeProto]) -> None:
    kept = [helper.make_node("Identity", [], []) for _ in nodes]
    for copy, node in zip(kept, nodes, strict=True):
        copy.CopyFrom(node)
    del model.graph.node[:]
    model.graph.node.extend(kept)
