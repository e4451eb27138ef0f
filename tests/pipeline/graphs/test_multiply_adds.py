import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from pipeline.graphs.multiply_adds import count_multiply_adds
from pipeline.inference.classifier import MODEL


def one_node(*nodes, weights, output=("batch", "tokens", None)):
    """Return a model of embeddings of width 4 and these nodes, which make ``y`` of ``x``."""
    table = numpy_helper.from_array(np.zeros((9, 4), np.float32), "table")
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "input_ids"], ["x"]), *nodes],
        "graph",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "tokens"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, output)],
        [table, *(numpy_helper.from_array(value, name) for name, value in weights.items())],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


WEIGHT = np.zeros((4, 6), np.float32)


def test_product_by_hand():
    model = one_node(helper.make_node("MatMul", ["x", "w"], ["y"]), weights={"w": WEIGHT})

    assert count_multiply_adds(model, batch=2, length=5) == 2 * 5 * 4 * 6


def test_integer_product_by_hand():
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"]),
        helper.make_node("MatMulInteger", ["q", "w"], ["whole"]),
        helper.make_node("Cast", ["whole"], ["y"], to=TensorProto.FLOAT),
    ]
    model = one_node(*nodes, weights={"w": WEIGHT.astype(np.int8)})

    assert count_multiply_adds(model, batch=2, length=5) == 2 * 5 * 4 * 6


@pytest.mark.parametrize("transposed", [0, 1])
def test_gemm_by_hand(transposed):
    first = np.zeros((4, 7) if transposed else (7, 4), np.float32)
    node = helper.make_node("Gemm", ["a", "w"], ["y"], transA=transposed)
    model = one_node(node, weights={"a": first, "w": WEIGHT}, output=(7, 6))

    assert count_multiply_adds(model, batch=1, length=5) == 7 * 4 * 6


def test_fused_attention_counts_projections_scores_and_sum():
    node = helper.make_node(
        "Attention", ["x", "w", "b"], ["y"], domain="com.microsoft", num_heads=2
    )
    weights = {"w": np.zeros((4, 12), np.float32), "b": np.zeros(12, np.float32)}
    model = one_node(node, weights=weights)

    assert count_multiply_adds(model, batch=2, length=5) == 2 * (5 * 4 * 12 + 2 * 5 * 5 * 4)


def test_products_behind_fused_operators_are_counted():
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("BiasGelu", ["a", "b"], ["c"], domain="com.microsoft"),
        helper.make_node("FusedMatMul", ["c", "v"], ["d"], domain="com.microsoft"),
        helper.make_node("FastGelu", ["d"], ["e"], domain="com.microsoft"),
        helper.make_node("MatMul", ["e", "w"], ["y"]),
    ]
    weights = {"w": WEIGHT, "v": WEIGHT.T.copy(), "b": np.zeros(6, np.float32)}

    found = count_multiply_adds(one_node(*nodes, weights=weights), batch=1, length=1)

    assert found == 3 * 4 * 6


@pytest.mark.parametrize(("declared", "is_known"), [("tokens + 0", True), ("tokens * 2", False)])
def test_sums_of_a_calls_sizes_are_known(declared, is_known):
    """As the exporter notes the tokens of a cache: ``sequence + past``."""
    nodes = [
        helper.make_node("Secret", ["x"], ["a"], domain="com.microsoft"),
        helper.make_node("MatMul", ["a", "w"], ["y"]),
    ]
    output = ("batch", declared, 6)
    model = one_node(*nodes, weights={"w": WEIGHT}, output=output)
    shape = ["batch", declared, 4]
    model.graph.value_info.append(helper.make_tensor_value_info("a", TensorProto.FLOAT, shape))

    found = count_multiply_adds(model, batch=2, length=5)

    assert found == (2 * 5 * 4 * 6 if is_known else None)


def test_products_that_cannot_be_told_are_not_guessed():
    nodes = [
        helper.make_node("Secret", ["x"], ["a"], domain="somewhere"),
        helper.make_node("MatMul", ["a", "w"], ["y"]),
    ]

    assert count_multiply_adds(one_node(*nodes, weights={"w": WEIGHT}), batch=1, length=1) is None


def test_transformer_by_hand_and_its_int8_file_alike(tiny_export, tmp_path):
    path = tiny_export.folder / "student" / MODEL
    quantised = tmp_path / "int8.onnx"
    quantize_dynamic(path, quantised, weight_type=QuantType.QInt8, per_channel=True)

    found = [count_multiply_adds(onnx.load(file), batch=3, length=7) for file in (path, quantised)]

    # Two layers of width 32 with an FFN of 64; a pooler and a head of two classes a text.
    layer = 7 * (4 * 32 * 32 + 2 * 32 * 64) + 2 * 7 * 7 * 32
    assert found == [3 * (2 * layer + 32 * 32 + 32 * 2)] * 2
