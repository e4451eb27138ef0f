import json

import numpy as np
import pytest

from pipeline.chain.sweep_files import list_files
from pipeline.chain.sweep_plan import plan_students
from pipeline.config import BenchmarkConfig, EvaluateConfig, RunConfig
from pipeline.facts.arms import TORCH_TEACHER
from pipeline.stages.sweep_latency import LATENCY, SweepLatencySettings, measure_latency
from pipeline.stages.sweep_quality import SweepQualitySettings, measure_quality
from pipeline.tasks.classification import CLASSIFICATION as TASK
from pipeline.timing.machine import describe_machine


@pytest.fixture(scope="module")
def files(tiny_quantized):
    """The tiny student's files in both precisions."""
    data = {"train": "texts.csv", "labels": ["negative", "positive"]}
    config = RunConfig.model_validate({"data": data, "teacher": {"model": "tiny"}})
    (student, *_) = plan_students(config, 2)
    return list_files(student, tiny_quantized, ("fp32", "int8"), parameters=1000)


def test_each_precision_is_a_file_that_is_there(files):
    fp32, int8 = files

    assert (fp32.name, int8.name) == ("2 layers, fp32", "2 layers, int8")
    assert int8.runtime.file == "model_quantized.onnx"
    for file in files:
        assert (file.bundle / "onnx" / file.runtime.file).stat().st_size == file.size_bytes


def test_quality_is_measured_on_both_splits_against_the_teacher(
    tiny_data, tiny_export, tiny_quantized, files, tmp_path
):
    config = EvaluateConfig(bootstrap_samples=100)
    settings = SweepQualitySettings(task=TASK, files=files, evaluate=config, seed=0)

    found = measure_quality(tiny_data, tiny_export, (tiny_quantized,), settings, tmp_path)

    assert found.texts == {"validation": 24, "test": 24}
    assert list(found.files) == ["plain", "teacher", "2 layers, fp32", "2 layers, int8"]
    teacher = found.files["teacher"]
    assert teacher.test.values["agreement"] == 1
    assert set(teacher.change.values.values()) == {0.0}
    outputs = np.load(tmp_path / "test.npz")
    for name, file in found.files.items():
        accuracy = TASK.metrics(outputs[name], outputs["labels"])["accuracy"]
        assert file.test.values["accuracy"] == accuracy
        change = accuracy - teacher.test.values["accuracy"]
        assert file.change.values["accuracy"] == pytest.approx(change)


def test_all_files_and_the_teacher_in_pytorch_are_timed_in_turns(
    tiny_data, tiny_teacher, tiny_export, tiny_quantized, tiny_context, files, tmp_path
):
    settings = SweepLatencySettings(
        context=tiny_context,
        files=files,
        benchmark=BenchmarkConfig(ladder_blocks=3, own_lengths=2, warmup_runs=1),
        machine=describe_machine(),
    )

    found = measure_latency(
        tiny_data, tiny_teacher, tiny_export, (tiny_quantized,), settings, tmp_path
    )

    arms = {TORCH_TEACHER, "teacher", "plain", *(file.name for file in files)}
    raw = json.loads((tmp_path / LATENCY).read_text(encoding="utf-8"))
    assert {rung.arm for rung in found.rungs} == arms
    assert (found.blocks, found.texts) == (3, 2)
    assert all(set(block["wall_ns"]) == arms for block in raw["blocks"])
    for rung in found.rungs:
        assert rung.faster_than_torch.low <= rung.faster_than_torch.value
