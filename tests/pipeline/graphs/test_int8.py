import dataclasses

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from pipeline.facts.variants import Runtime
from pipeline.graphs.int8 import INT8_SESSION, count_ops, write_int8
from pipeline.inference.classifier import load_bundle
from pipeline.texts.tables import read_split


@pytest.fixture(scope="module")
def texts(tiny_data):
    return read_split(tiny_data.folder, "test").texts


@pytest.fixture(scope="module")
def student(tiny_export):
    return load_bundle(tiny_export.folder / "student")


@pytest.fixture(scope="module")
def int8(tiny_quantized):
    """The int8 copy of the tiny student, loaded."""
    runtime = Runtime(file="model_quantized.onnx", session_config=INT8_SESSION)
    return load_bundle(tiny_quantized.folder / "student", runtime=runtime)


def test_every_product_with_a_weight_is_an_integer_product(tiny_quantized):
    folder = tiny_quantized.folder / "student" / "onnx"
    before, after = (count_ops(folder / f"model{name}.onnx") for name in ("", "_quantized"))

    assert after["MatMulInteger"] == tiny_quantized.facts.int8_products == 12
    # What is left: two products of activations a layer, and the head, which had been Gemm nodes.
    assert after["MatMul"] + after["Gemm"] == before["MatMul"] + before["Gemm"] - 12


def test_logits_are_close_to_those_of_fp32(int8, student, texts):
    expected = student.outputs(texts)

    difference = abs(int8.outputs(texts, batch_size=1) - expected).max()

    # Random weights and logits of 0.5: rounding shows, but a wrong scale would be off by all of it.
    assert 0 < difference < 0.1 * abs(expected).max()


def test_a_text_has_the_same_int8_outputs_to_the_last_bit_whatever_is_beside_it(int8, texts):
    together = int8.outputs(texts)
    alone = np.concatenate([int8.outputs([text]) for text in texts])
    mixed = dataclasses.replace(int8, mixes_rows=False).outputs(texts)

    assert int8.mixes_rows
    np.testing.assert_array_equal(together, alone)
    assert abs(mixed - alone).max() > 1e-4  # one scale for all texts of a call


def test_a_text_has_the_same_fp32_outputs_but_for_rounding_whatever_is_beside_it(student, texts):
    alone = np.concatenate([student.outputs([text]) for text in texts])

    assert not student.mixes_rows
    np.testing.assert_allclose(student.outputs(texts), alone, atol=1e-5)


def test_word_table_is_rounded_row_by_row(tiny_export, student, texts, tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.graphs.int8._TABLE_ROWS", 65)
    source = tiny_export.folder / "student" / "onnx" / "model.onnx"
    feeds = (inputs for _, inputs in student.batches(texts, batch_size=1))

    write_int8(source, tmp_path / "small.onnx", feeds)

    before, after = (
        {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}
        for path in (source, tmp_path / "small.onnx")
    )
    (table,) = (name for name in before if name.endswith("word_embeddings.weight"))
    rounded, scale = after[f"{table}_int8"], after[f"{table}_scale"]
    assert rounded.dtype == np.int8
    assert table not in after
    assert (abs(rounded * scale - before[table]) <= 0.501 * scale).all()
