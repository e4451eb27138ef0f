"""A tiny ONNX text classifier, with and without adapters, for the tests of the benchmark."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def make_graph(
    *,
    layers: int = 2,
    hidden_size: int = 8,
    adapters: int = 0,
    bottleneck_size: int = 4,
    vocab_size: int = 20,
    inputs: tuple[str, ...] = INPUTS,
    adapter_name: str = "adapter",
    seed: int = 0,
) -> ModelProto:
    """Return a classifier of two classes: embeddings, dense layers, adapters after some, a mean."""
    rng = np.random.default_rng(seed)
    weights: dict[str, np.ndarray] = {"axes": np.array([1])}
    nodes = [helper.make_node("Gather", ["embeddings", "input_ids"], ["x0"], "look_up")]
    weights["embeddings"] = rng.normal(size=(vocab_size, hidden_size))

    def dense(name: str, source: str, target: str, rows: int, columns: int) -> None:
        weights[f"{name}.weight"] = rng.normal(size=(rows, columns)) / np.sqrt(rows)
        weights[f"{name}.bias"] = rng.normal(size=(columns,))
        nodes.append(helper.make_node("MatMul", [source, f"{name}.weight"], [f"{name}.product"]))
        nodes.append(helper.make_node("Add", [f"{name}.product", f"{name}.bias"], [target]))

    for layer in range(layers):
        source, target = f"x{layer}", f"x{layer + 1}"
        last = f"d{layer}" if layer < adapters else target
        dense(f"layer.{layer}", source, f"h{layer}", hidden_size, hidden_size)
        nodes.append(helper.make_node("Relu", [f"h{layer}"], [last]))
        if layer < adapters:
            name = f"layer.{layer}.{adapter_name}"
            dense(f"{name}.down", last, f"{name}.low", hidden_size, bottleneck_size)
            dense(f"{name}.up", f"{name}.low", f"{name}.high", bottleneck_size, hidden_size)
            nodes.append(helper.make_node("Add", [last, f"{name}.high"], [target]))
    nodes.append(helper.make_node("ReduceMean", [f"x{layers}", "axes"], ["mean"], keepdims=0))
    dense("classifier", "mean", "logits", hidden_size, 2)
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info(n, TensorProto.INT64, ["batch", "tokens"]) for n in inputs],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])],
        [
            numpy_helper.from_array(v if name == "axes" else v.astype(np.float32), name)
            for name, v in weights.items()
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


@pytest.fixture(scope="session")
def graph() -> Callable[..., ModelProto]:
    """``graph(layers=2, adapters=0, seed=0, ...)``: a tiny classifier."""
    return make_graph


@pytest.fixture(scope="session")
def write_bundle(tiny_checkpoint: Path) -> Callable[..., Path]:
    """``write_bundle(folder, **graph)``: a bundle with a tiny classifier and a real tokenizer."""

    def write_bundle(folder: Path, **settings: object) -> Path:
        (folder / "onnx").mkdir(parents=True)
        onnx.save(make_graph(**settings), folder / "onnx" / "model.onnx")
        labels = {"id2label": {"0": "negative", "1": "positive"}, "pad_token_id": 0}
        size = settings.get("vocab_size", 20)
        (folder / "config.json").write_text(json.dumps({"vocab_size": size} | labels))
        for name in ("tokenizer.json", "tokenizer_config.json"):
            (folder / name).write_bytes((tiny_checkpoint / name).read_bytes())
        return folder

    return write_bundle
