import numpy as np
import onnx
import onnx_ir
import onnxruntime as ort

from pipeline.graphs.saving import data_of, save_graph
from pipeline.graphs.structure import describe_graph

FEEDS = {
    "input_ids": np.array([[1, 2, 3]]),
    "attention_mask": np.ones((1, 3), np.int64),
    "token_type_ids": np.zeros((1, 3), np.int64),
}


def test_weights_that_one_file_cannot_hold_stand_beside_it(graph, tmp_path):
    made = graph(hidden_size=64, vocab_size=200)
    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    whole, parts = (tmp_path / name / "model.onnx" for name in ("whole", "parts"))

    save_graph(onnx_ir.from_proto(made), whole)
    save_graph(onnx_ir.from_proto(made), parts, most_bytes=1000)

    assert not data_of(whole).exists()
    assert data_of(parts).stat().st_size > 50_000 > parts.stat().st_size
    outputs = [ort.InferenceSession(path).run(None, FEEDS)[0] for path in (whole, parts)]
    np.testing.assert_array_equal(*outputs)
    found, expected = describe_graph(parts), describe_graph(whole)
    assert (found.hash, found.parameters) == (expected.hash, expected.parameters)
    onnx.checker.check_model(parts)
