import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper

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
