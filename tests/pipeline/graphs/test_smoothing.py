import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper, numpy_helper
from onnx.parser import parse_graph

from pipeline.graphs.smoothing import (
    change_embeddings,
    scale_tokens,
    smooth_channels,
    smoothable,
    weighted_products,
)


@pytest.fixture
def student(tiny_export):
    """The student's graph, which a test may change: two layers, D = 32, 64 FFN units."""
    return onnx.load(tiny_export.folder / "student" / "onnx" / "model.onnx")


def run(model, *outputs):
    """Return outputs for two texts of nine tokens."""
    ids = np.random.default_rng(0).integers(5, 60, size=(2, 9))
    feeds = {
        "input_ids": ids,
        "attention_mask": np.ones_like(ids),
        "token_type_ids": np.zeros_like(ids),
    }
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(list(outputs) or None, feeds)


def uneven(model):
    """Return made-up activation sizes: one channel in eight is a hundred times the others."""
    return {name: np.where(np.arange(32) % 8, 1.0, 100.0) for name in smoothable(model)}


def test_every_layernorm_before_a_product_is_smoothable(student):
    assert len(smoothable(student)) == 4  # two layers: before attention and before the FFN
    assert len(weighted_products(student)) == 12


def test_smoothing_is_exact_in_fp32(student):
    (expected,) = run(student)

    smooth_channels(student, uneven(student))

    np.testing.assert_allclose(run(student)[0], expected, atol=2e-6)
    assert sum(node.op_type == "Mul" for node in student.graph.node if "smoothed" in node.name) == 4


def test_smoothing_evens_out_what_goes_into_a_product(student):
    name = smoothable(student)[0]
    weight = next(n.input[1] for n in weighted_products(student).values() if n.input[0] == name)
    before = {t.name: numpy_helper.to_array(t) for t in student.graph.initializer}[weight]

    smooth_channels(student, uneven(student))

    after = {t.name: numpy_helper.to_array(t) for t in student.graph.initializer}
    factors = after[f"{name}_smoothing"]
    assert factors[0] < 0.1 * factors[1]  # the large channel shrinks, its weights grow
    np.testing.assert_allclose(after[weight] * factors[:, None], before, rtol=1e-5)


def test_scaling_of_tokens_is_exact_in_fp32(student):
    (expected,) = run(student)

    scale_tokens(student)

    np.testing.assert_allclose(run(student)[0], expected, atol=2e-6)
    # One a layer: only the FFN's output makes a wide input narrow.
    assert sum(node.op_type == "ReduceMax" for node in student.graph.node) == 2


def test_scaled_tokens_lie_between_minus_one_and_one(student):
    scale_tokens(student)
    inputs = [n.output[0] for n in student.graph.node if n.op_type == "Div" and "divided" in n.name]
    student.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in inputs
    )

    for values in run(student, *inputs):
        assert abs(values).max() <= 1


def test_only_large_tables_change_and_the_old_ones_go(student):
    tables = []

    def same(node, table):
        tables.append(table.name)
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.input[0] = "another"
        student.graph.initializer.append(
            numpy_helper.from_array(numpy_helper.to_array(table), "another")
        )
        return [copy]

    (expected,) = run(student)
    change_embeddings(student, same, rows=65)

    assert len(tables) == 1  # words; positions and segments have fewer rows
    assert tables[0] not in {tensor.name for tensor in student.graph.initializer}
    np.testing.assert_array_equal(run(student)[0], expected)


def test_older_opsets_are_served(student):
    student.opset_import[0].version = 17

    scale_tokens(student)

    (axes, *_) = [
        attribute.ints
        for node in student.graph.node
        if node.op_type == "ReduceMax"
        for attribute in node.attribute
        if attribute.name == "axes"
    ]
    assert list(axes) == [-1]


@pytest.fixture
def make_rms_graph():
    """``make_rms_graph(residual)``: an RMSNorm of 32 channels before two products.

    With a residual, the norm's output is added to their sum.
    """

    def make_rms_graph(*, residual):
        last = "total = Add(sum, normed)" if residual else "total = Identity(sum)"
        graph = parse_graph(f"""
            norm (int64[batch, tokens] input_ids) => (float[batch, tokens, 32] total) {{
                x = Gather(table, input_ids)
                square = Pow(x, two)
                mean = ReduceMean<keepdims = 1>(square, axes)
                shifted = Add(mean, tiny)
                root = Sqrt(shifted)
                inverse = Reciprocal(root)
                scaled = Mul(x, inverse)
                normed = Mul(weight, scaled)
                one = MatMul(normed, first)
                other = MatMul(normed, second)
                sum = Add(one, other)
                {last}
            }}""")
        rng = np.random.default_rng(0)
        arrays = {name: rng.normal(size=(32, 32)) for name in ("first", "second")}
        arrays |= {"table": rng.normal(size=(60, 32)), "weight": rng.uniform(0.5, 2, size=32)}
        arrays |= {"two": np.array(2.0), "tiny": np.array(1e-6)}
        graph.initializer.extend(
            numpy_helper.from_array(array.astype(np.float32), name)
            for name, array in arrays.items()
        )
        graph.initializer.append(numpy_helper.from_array(np.array([-1]), "axes"))
        for number, node in enumerate(graph.node):
            node.name = f"node {number}"
        opset = helper.make_opsetid("", 20)
        return helper.make_model(graph, opset_imports=[opset], ir_version=10)

    return make_rms_graph


@pytest.mark.parametrize("residual", [False, True])
def test_smoothing_after_an_rms_norm_is_exact_in_fp32(make_rms_graph, residual):
    model = make_rms_graph(residual=residual)
    before = len(model.graph.node)
    ids = np.random.default_rng(0).integers(0, 60, size=(2, 9))

    def answers():
        session = ort.InferenceSession(model.SerializeToString())
        return session.run(None, {"input_ids": ids})[0]

    expected = answers()
    smooth_channels(model, uneven(model))

    assert smoothable(make_rms_graph(residual=residual)) == ("normed",)
    np.testing.assert_allclose(answers(), expected, atol=5e-5)
    # The norm's own weight takes the constant, where nothing else reads the norm.
    assert len(model.graph.node) - before == int(residual)
