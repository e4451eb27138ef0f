"""An int8 copy of an ONNX classifier, with products with weights and the word table in 8 bits.

The copy is quantised dynamically (signed, one scale per output), from the unfused graph. There,
every product with a weight becomes a ``MatMulInteger``. With fused attention, most of them would
stay in fp32. Rounded activations make nearly all of the error, rounded weights almost none. The
graph is therefore first rewritten to make rounding of activations harmless (smoothing.py). The head
stays in fp32, because it sees one token of a text. The word table is rounded row by row.

Processors without 8-bit dot products (VNNI) add up pairs of products in 16 bits, and saturate.
`INT8_SESSION` makes onnxruntime take the exact kernels there. With VNNI, all sums are exact and the
setting would only slow them down. `pipeline.inference.session` therefore leaves it out there.

Shapes: V = words, D = hidden size, K = inputs of a product.
"""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from pipeline.facts.variants import Runtime
from pipeline.graphs.smoothing import (
    change_embeddings,
    scale_tokens,
    smooth_channels,
    smoothable,
    weighted_products,
)
from pipeline.inference.session import EXACT_SUMS, open_file

INT8_SESSION = {EXACT_SUMS: "1"}
"""Session settings for an int8 file."""
_TABLE_ROWS = 1024
"""Fewest rows of a table that is quantised; small ones (positions, segments) stay in fp32."""


def write_int8(source: Path, target: Path, feeds: Iterator[Mapping[str, np.ndarray]]) -> int:
    """Write an int8 copy of an fp32 file; return how many products it computes in 8 bits.

    Args:
        source: File as the export stage writes it.
        target: Path of the copy.
        feeds: Inputs of some hundred texts without padding, to measure the size of activations.

    Raises:
        RuntimeError: when onnxruntime left a product in fp32 that it should have quantised.
    """
    model = onnx.load(source)
    largest = _largest_activations(model, feeds)
    smooth_channels(model, largest)
    scale_tokens(model)
    change_embeddings(model, lambda node, table: _round_table(model, node, table), rows=_TABLE_ROWS)
    products = weighted_products(model)
    with _quiet():
        quantize_dynamic(
            model,
            target,
            # Chosen by name, because the quantiser turns the head's Gemm into a MatMul.
            nodes_to_quantize=list(products),
            weight_type=QuantType.QInt8,
            per_channel=True,
        )
    found = count_ops(target)["MatMulInteger"]
    if found != len(products):
        raise RuntimeError(
            f"onnxruntime {ort.__version__} quantised {found} of {len(products)} products of "
            f"{source.name}. Install another version of onnxruntime, or set "
            "quantize.enabled = false."
        )
    return found


def count_ops(path: Path) -> Counter[str]:
    """Return the number of nodes per operator in a file."""
    return Counter(node.op_type for node in onnx.load(path, load_external_data=False).graph.node)


def _largest_activations(
    model: ModelProto, feeds: Iterator[Mapping[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """Return the largest absolute value of each channel, (K,), at every smoothable place."""
    names = smoothable(model)
    if not names:  # no norm feeds a product
        return {}
    watched = ModelProto()
    watched.CopyFrom(model)
    watched.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names
    )
    session = open_file(Runtime(), watched.SerializeToString())
    largest: dict[str, np.ndarray] = {}
    for feed in feeds:
        for name, values in zip(names, session.run(list(names), dict(feed)), strict=True):
            channels = abs(values).reshape(-1, values.shape[-1]).max(axis=0)
            largest[name] = np.maximum(largest.get(name, channels), channels)
    return largest


def _round_table(model: ModelProto, node: NodeProto, table: TensorProto) -> list[NodeProto]:
    """Add a table in 8 bits with a scale per row; return the nodes that look it up and multiply."""
    name, ids, result = table.name, node.input[1], node.output[0]
    rows = numpy_helper.to_array(table)  # (V, D)
    scale = np.maximum(abs(rows).max(axis=1, keepdims=True) / 127, np.float32(1e-12))  # (V, 1)
    rounded = np.round(rows / scale).astype(np.int8)
    model.graph.initializer.extend(
        [
            numpy_helper.from_array(rounded, f"{name}_int8"),
            numpy_helper.from_array(scale.astype(np.float32), f"{name}_scale"),
        ]
    )
    small, real, factor = (f"{node.name}_{part}" for part in ("int8", "real", "scale"))
    return [
        helper.make_node("Gather", [f"{name}_int8", ids], [small], small),
        helper.make_node("Cast", [small], [real], real, to=TensorProto.FLOAT),
        helper.make_node("Gather", [f"{name}_scale", ids], [factor], factor),
        helper.make_node("Mul", [real, factor], [result], node.name),
    ]


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the quantiser's advice to run its own optimiser first, on the root logger."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
