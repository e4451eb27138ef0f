"""Number of multiply-adds of one call of an ONNX graph, by shape inference alone.

The count covers matrix products, with those of attention. In a transformer, everything else is two
orders of magnitude less. Shape inference of onnx covers its own operators. Optimizers of
onnxruntime replace some by operators of the domain ``com.microsoft``, whose shapes this module
infers.
"""

from collections.abc import Callable, Mapping, Sequence
from math import prod

from onnx import GraphProto, ModelProto, NodeProto, TensorShapeProto, helper, shape_inference

from pipeline.inference.cache import PAST

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]

_LARGEST_KEPT = 1024
"""Most elements of an initializer whose values shape inference sees; of larger ones it sees
shapes."""
_PRODUCTS = (
    "MatMul",
    "MatMulInteger",
    "QLinearMatMul",
    "FusedMatMul",
    "MatMulIntegerToFloat",
    "DynamicQuantizeMatMul",
)
_LIKE_FIRST_INPUT = (
    "SkipLayerNormalization",
    "BiasGelu",
    "FastGelu",
    "Gelu",
    "QuickGelu",
    "MultiHeadAttention",
)


def count_multiply_adds(model: ModelProto, *, batch: int, length: int) -> int | None:
    """Return the multiply-adds of a call, or None where a product's shapes are unknown.

    Args:
        model: ONNX graph to count in.
        batch: Number of texts in the call.
        length: Number of tokens per text.
    """
    fixed, symbols = _with_fixed_inputs(model, batch, length)
    try:
        shapes = _infer(fixed, symbols)
    except shape_inference.InferenceError:
        return None
    total = 0
    for node in fixed.graph.node:
        count = _COUNTS.get(node.op_type)
        if count is None:
            continue
        try:
            total += count(node, shapes)
        except KeyError:  # the shape of an input or of the output is unknown
            return None
    return total


def _with_fixed_inputs(
    model: ModelProto, batch: int, length: int
) -> tuple[ModelProto, dict[str, int]]:
    """Return a copy without large weights and with the call's shape, and the symbols' values."""
    graph = model.graph
    small, inputs = [], []
    symbols: dict[str, int] = {}
    weights = {tensor.name for tensor in graph.initializer}
    for each in graph.input:
        if each.name in weights:
            continue
        dims, kind = each.type.tensor_type.shape.dim, each.type.tensor_type.elem_type
        shape = [batch, length]
        if each.name.startswith(PAST):  # an empty cache
            shape = [batch, dims[1].dim_value, 0, dims[3].dim_value]
        symbols |= {
            dim.dim_param: value
            for dim, value in zip(dims, shape, strict=True)
            if not dim.HasField("dim_value")
        }
        inputs.append(helper.make_tensor_value_info(each.name, kind, shape))
    for tensor in graph.initializer:
        if prod(tensor.dims) <= _LARGEST_KEPT and not tensor.external_data:
            small.append(tensor)
        else:
            shape = list(tensor.dims)
            inputs.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, shape))
    copy = ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
    copy.functions.extend(model.functions)
    # The exporter's own shapes are kept, because inference alone misses some.
    stripped = helper.make_graph(
        list(graph.node),
        graph.name,
        inputs,
        list(graph.output),
        small,
        value_info=list(graph.value_info),
    )
    copy.graph.CopyFrom(stripped)
    return copy, symbols


def _infer(model: ModelProto, symbols: Mapping[str, int]) -> Shapes:
    """Return the shapes of all values; each round continues from the shapes of the last one."""
    while True:
        inferred = shape_inference.infer_shapes(model, data_prop=True)
        shapes = _known(inferred.graph, symbols)
        added = 0
        for node in model.graph.node:
            output = node.output[0]
            if output in shapes:
                continue
            shape = _shape_of_fused(node, shapes)
            if shape is not None:
                info = helper.make_tensor_value_info(output, 1, shape)
                model.graph.value_info.append(info)
                added += 1
        if added == 0:
            return shapes


def _known(graph: GraphProto, symbols: Mapping[str, int]) -> Shapes:
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for info in (*graph.input, *graph.value_info, *graph.output):
        if not info.type.tensor_type.HasField("shape"):
            continue
        shape = [_size(dim, symbols) for dim in info.type.tensor_type.shape.dim]
        if None not in shape:
            shapes[info.name] = tuple(size for size in shape if size is not None)
    return shapes


def _size(dim: TensorShapeProto.Dimension, symbols: Mapping[str, int]) -> int | None:
    """Return a dimension's size, from a number, a symbol or a sum such as ``sequence + past``."""
    if dim.HasField("dim_value"):
        return dim.dim_value
    sizes = [_term(each.strip(), symbols) for each in dim.dim_param.split("+")]
    return None if None in sizes else sum(size for size in sizes if size is not None)


def _term(name: str, symbols: Mapping[str, int]) -> int | None:
    return int(name) if name.isdigit() else symbols.get(name)


def _shape_of_fused(node: NodeProto, shapes: Shapes) -> Shape | None:
    """Return the shape of an onnxruntime operator's output, None where it is unknown."""
    given = [shapes.get(name) for name in node.input]
    if not given or given[0] is None:
        return None
    first = given[0]
    if node.op_type in _LIKE_FIRST_INPUT:
        return first
    if node.op_type == "EmbedLayerNormalization" and given[2] is not None:
        return (*first, given[2][-1])
    if len(given) < 2 or given[1] is None:
        return None
    if node.domain and node.op_type in _PRODUCTS:
        return (*first[:-1], given[1][-1])
    if node.domain and node.op_type == "Attention":
        return (*first[:-1], given[1][-1] // 3)
    return None


def _count_product(node: NodeProto, shapes: Shapes) -> int:
    return prod(shapes[node.output[0]]) * shapes[node.input[0]][-1]


def _count_gemm(node: NodeProto, shapes: Shapes) -> int:
    rows = next((a.i for a in node.attribute if a.name == "transA"), 0)
    return prod(shapes[node.output[0]]) * shapes[node.input[0]][0 if rows else 1]


def _count_attention(node: NodeProto, shapes: Shapes) -> int:
    """Count scores and their sum over values, and for ``com.microsoft`` the projections too."""
    query = shapes[node.input[0]]
    if not node.domain or node.op_type == "MultiHeadAttention":
        return _both_products(query, shapes[node.input[1]])
    weights = shapes[node.input[1]]  # (D, 3D)
    return prod(query) * weights[1] + _both_products((*query[:-1], weights[1] // 3), query)


def _both_products(query: Sequence[int], key: Sequence[int]) -> int:
    return 2 * prod(query) * key[-2]


_COUNTS: dict[str, Callable[[NodeProto, Shapes], int]] = {
    **dict.fromkeys(_PRODUCTS, _count_product),
    "Gemm": _count_gemm,
    "Attention": _count_attention,
    "MultiHeadAttention": _count_attention,
}
