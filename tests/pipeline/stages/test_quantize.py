import json

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper

from pipeline.errors import InputError
from pipeline.facts.latency import Estimate
from pipeline.graphs.variants import VARIANTS
from pipeline.inference.classifier import load_bundle, read_runtime
from pipeline.stages.quantize import choose_variant
from pipeline.store.digests import sha256_file
from pipeline.store.store import Store
from pipeline.texts.tables import read_split
from pipeline.timing.variants import ratio_to_first


@pytest.fixture(scope="module")
def bundle(tiny_quantized):
    return tiny_quantized.folder / "student"


def test_bundle_has_the_layout_that_other_tools_read(bundle, tiny_export):
    exported = tiny_export.folder / "student"
    names = {path.name for path in (bundle / "onnx").iterdir()}

    assert {"model.onnx", "model_quantized.onnx", "model_fp16.onnx", "runtime.json"} <= names
    assert sha256_file(bundle / "onnx" / "model.onnx") == sha256_file(
        exported / "onnx" / "model.onnx"
    )
    beside = {path.name for path in exported.iterdir()}
    assert {path.name for path in bundle.iterdir()} == beside


def test_winner_is_recorded_with_its_session_settings(bundle, tiny_quantized):
    facts = tiny_quantized.facts
    chosen = next(variant for variant in facts.variants if variant.name == facts.chosen)

    runtime = read_runtime(bundle)

    assert runtime.file == facts.file == chosen.file
    assert (bundle / "onnx" / runtime.file).stat().st_size == chosen.size_bytes
    assert ("less fused" in facts.chosen) == (runtime.disabled_optimizers != ())


def test_every_variant_has_its_measurements(tiny_quantized):
    for variant in tiny_quantized.facts.variants:
        assert variant.refused is None
        assert variant.cpu_ms > 0
        low, high = variant.cpu_ratio_interval
        assert low <= variant.cpu_ratio <= high


def write_contrary(source, target, _feeds):
    """Write a copy whose head says the opposite, in place of an int8 file."""
    model = onnx.load(source)
    for tensor in model.graph.initializer:
        if tensor.name.endswith(("classifier.weight", "classifier.bias")):
            tensor.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(tensor), tensor.name))
    onnx.save(model, target)
    return 0


def test_file_that_costs_too_much_is_refused_not_timed_and_not_shipped(
    tiny_quantize, monkeypatch, tmp_path
):
    monkeypatch.setattr("pipeline.stages.quantize.write_int8", write_contrary)

    stage = tiny_quantize(store=Store(root=tmp_path))

    refused = {v.name: v for v in stage.facts.variants if v.refused is not None}
    assert set(refused) == {"int8", "int8, less fused"}
    assert "agreement with the teacher" in refused["int8"].refused
    assert refused["int8"].cpu_ratio is None
    assert "int8" not in stage.facts.chosen
    assert not (stage.folder / "student" / "onnx" / "model_quantized.onnx").exists()


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_precision_that_is_to_ship_ships(tiny_quantize, precision):
    facts = tiny_quantize(ship=precision, max_metric_drop=1.0, max_agreement_drop=1.0).facts

    assert VARIANTS[facts.chosen].precision == precision
    assert {variant.name for variant in facts.variants} == set(VARIANTS)


def test_refused_precision_cannot_be_made_to_ship(tiny_quantize, monkeypatch, tmp_path):
    monkeypatch.setattr("pipeline.stages.quantize.write_int8", write_contrary)

    with pytest.raises(InputError, match=r"quantize\.ship is int8, which is refused"):
        tiny_quantize(ship="int8", store=Store(root=tmp_path))


def test_fp16_copy_takes_and_gives_what_the_fp32_file_does(bundle):
    single, half = (
        ort.InferenceSession(bundle / "onnx" / name, providers=["CPUExecutionProvider"])
        for name in ("model.onnx", "model_fp16.onnx")
    )

    for session in (single, half):
        assert {each.type for each in session.get_inputs()} == {"tensor(int64)"}
        assert [each.type for each in session.get_outputs()] == ["tensor(float)"]
    weights = onnx.load(bundle / "onnx" / "model_fp16.onnx").graph.initializer
    assert any(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in weights)


def test_fp16_copy_that_differs_too_much_is_refused(tiny_quantize, tmp_path):
    with pytest.raises(InputError, match=r"quantize\.fp16_tolerance"):
        tiny_quantize(fp16_tolerance=1e-9, store=Store(root=tmp_path))


def test_fp16_difference_is_within_half_precision(tiny_quantized):
    assert 0 < tiny_quantized.facts.fp16_difference < 0.05


@pytest.mark.parametrize(
    ("ratios", "expected"),
    [
        ({"fp32": (1, (1, 1)), "fused": (0.97, (0.96, 0.98)), "int8": (0.5, (0.4, 0.6))}, "int8"),
        ({"fp32": (1, (1, 1)), "fused": (0.97, (0.96, 0.98)), "int8": (0.5, (0.2, 1.1))}, "fused"),
        ({"fp32": (1, (1, 1)), "fused": (0.99, (0.97, 1.01))}, "fp32"),
        ({"fp32": (1, (1, 1))}, "fp32"),
    ],
    ids=["fastest", "fastest is uncertain", "none is surely faster", "alone"],
)
def test_only_what_is_surely_faster_wins(ratios, expected):
    estimates = {
        name: Estimate(value=value, low=low, high=high)
        for name, (value, (low, high)) in ratios.items()
    }

    assert choose_variant(estimates) == expected


def test_ratio_is_the_geometric_mean_over_blocks():
    times = {"fp32": [2.0, 4.0, 8.0], "int8": [1.0, 1.0, 4.0]}  # ratios 1/2, 1/4, 1/2

    ratio = ratio_to_first(times, "int8", 0.95)

    assert ratio.value == pytest.approx((1 / 16) ** (1 / 3))
    assert ratio.low < ratio.value < ratio.high
    assert ratio_to_first(times, "fp32", 0.95) == Estimate(value=1.0, low=1.0, high=1.0)


def test_bundle_runs_the_file_that_is_recorded(bundle, tiny_data, tmp_path):
    texts = read_split(tiny_data.folder, "test").texts
    runtime = read_runtime(bundle).model_dump() | {"file": "model_fp16.onnx"}
    copy = tmp_path / "student"
    (copy / "onnx").mkdir(parents=True)
    for path in bundle.rglob("*"):
        if path.is_file():
            (copy / path.relative_to(bundle)).write_bytes(path.read_bytes())
    (copy / "onnx" / "runtime.json").write_text(json.dumps(runtime))

    half, default = load_bundle(copy).outputs(texts), load_bundle(bundle).outputs(texts)

    assert not np.array_equal(half, default)


@pytest.mark.parametrize("file", ["../model.onnx", "/etc/model.onnx", "model.bin", ".."])
def test_runtime_stays_in_the_bundle(bundle, tmp_path, file):
    copy = tmp_path / "student"
    (copy / "onnx").mkdir(parents=True)
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "onnx/model.onnx"):
        (copy / name).write_bytes((bundle / name).read_bytes())
    (copy / "onnx" / "runtime.json").write_text(json.dumps({"file": file}))

    with pytest.raises(InputError, match="is not a bundle's way to be run"):
        load_bundle(copy)
