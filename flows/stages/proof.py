"""From the student to the numbers that the gate decides on: ONNX, variants, quality, latency."""

from functools import partial

from flows.stages.declaration import stage_task, with_model
from models.losses import SINGLE_LABEL as OBJECTIVE
from pipeline.checkpoints.pretrained import Checkpoint
from pipeline.config import RunConfig
from pipeline.facts.benchmark import BenchmarkFacts
from pipeline.facts.data import DataFacts
from pipeline.facts.export import ExportFacts
from pipeline.facts.quality import EvaluateFacts
from pipeline.facts.training import StudentFacts, TeacherFacts
from pipeline.facts.variants import QuantizeFacts
from pipeline.stages.benchmark import benchmark
from pipeline.stages.evaluate import evaluate
from pipeline.stages.export import export
from pipeline.stages.quantize import quantize
from pipeline.store.stage import Stage
from pipeline.store.store import Store
from pipeline.tasks.classification import SINGLE_LABEL as TASK
from pipeline.timing.ladder import TorchTeacher
from pipeline.timing.machine import describe_machine


@stage_task("export")
def export_stage(
    store: Store,
    config: RunConfig,
    data: Stage[DataFacts],
    head_only: Stage[TeacherFacts],
    teacher: Stage[TeacherFacts],
    student: Stage[StudentFacts],
    backbone: Checkpoint,
) -> Stage[ExportFacts]:
    """Backbone, teacher and student as ONNX, proven equal to torch."""
    build = partial(
        export,
        data,
        head_only,
        teacher,
        student,
        backbone,
        config.export,
        objective=OBJECTIVE,
        max_length=config.data.max_length,
    )
    settings = with_model(config, backbone, export=config.export)
    inputs = [data, head_only, teacher, student]
    return store.ensure("export", build, ExportFacts, settings=settings, inputs=inputs)


@stage_task("quantize")
def quantize_stage(
    store: Store, config: RunConfig, data: Stage[DataFacts], exported: Stage[ExportFacts]
) -> Stage[QuantizeFacts]:
    """Variants of the student, and the one that ships from this machine."""
    build = partial(quantize, data, exported, config.quantize, task=TASK, seed=config.seed)
    settings = {"quantize": config.quantize, "seed": config.seed, "machine": describe_machine()}
    return store.ensure(
        "quantize", build, QuantizeFacts, settings=settings, inputs=[data, exported]
    )


@stage_task("evaluate")
def evaluate_stage(
    store: Store,
    config: RunConfig,
    data: Stage[DataFacts],
    exported: Stage[ExportFacts],
    quantized: Stage[QuantizeFacts] | None,
) -> Stage[EvaluateFacts]:
    """Quality and fidelity of the ONNX files."""
    build = partial(
        evaluate, data, exported, quantized, config.evaluate, task=TASK, seed=config.seed
    )
    settings = {"evaluate": config.evaluate, "seed": config.seed}
    inputs = [data, exported, *([quantized] if quantized else [])]
    return store.ensure("evaluate", build, EvaluateFacts, settings=settings, inputs=inputs)


@stage_task("benchmark")
def benchmark_stage(
    store: Store,
    config: RunConfig,
    data: Stage[DataFacts],
    teacher: Stage[TeacherFacts],
    exported: Stage[ExportFacts],
    quantized: Stage[QuantizeFacts] | None,
    backbone: Checkpoint,
) -> Stage[BenchmarkFacts]:
    """Latency of the ONNX files on this machine, and whether the overhead is gone."""
    build = partial(
        benchmark,
        data,
        exported,
        quantized,
        TorchTeacher(folder=teacher.folder, backbone=backbone.folder),
        config.benchmark,
        max_length=config.data.max_length,
        seed=config.seed,
    )
    settings = {
        "benchmark": config.benchmark,
        "max_length": config.data.max_length,
        "seed": config.seed,
        "machine": describe_machine(),
    }
    inputs = [data, teacher, exported, *([quantized] if quantized else [])]
    return store.ensure("benchmark", build, BenchmarkFacts, settings=settings, inputs=inputs)
