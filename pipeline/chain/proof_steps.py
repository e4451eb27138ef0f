"""The steps from the student to the numbers that the gate decides on: ONNX, quality, latency."""

from pipeline.chain.parts import StudentStages, TeacherStages
from pipeline.checkpoints.context import ModelContext
from pipeline.config import RunConfig
from pipeline.facts.benchmark import BenchmarkFacts
from pipeline.facts.data import DataFacts
from pipeline.facts.export import ExportFacts
from pipeline.facts.quality import EvaluateFacts
from pipeline.facts.training import StudentFacts
from pipeline.facts.variants import QuantizeFacts
from pipeline.stages.benchmark import BenchmarkSettings, benchmark
from pipeline.stages.evaluate import EvaluateSettings, evaluate
from pipeline.stages.export import ExportSettings, export
from pipeline.stages.quantize import QuantizeSettings, quantize
from pipeline.store.stage import Stage
from pipeline.store.step import Step, step
from pipeline.timing.machine import describe_machine


def export_step(
    config: RunConfig, teacher: TeacherStages, student: Stage[StudentFacts]
) -> Step[ExportFacts]:
    """Backbone, teacher and student as ONNX, proven equal to torch."""
    return step(
        "export",
        export,
        teacher.data,
        teacher.head_only,
        teacher.teacher,
        student,
        settings=ExportSettings(context=teacher.context, export=config.export),
        facts=ExportFacts,
    )


def quantize_step(
    config: RunConfig,
    context: ModelContext,
    data: Stage[DataFacts],
    exported: Stage[ExportFacts],
) -> Step[QuantizeFacts]:
    """Variants of the student, and the one that ships from this machine."""
    settings = QuantizeSettings(
        task=context.task,
        quantize=config.quantize,
        seed=config.seed,
        machine=describe_machine(),
    )
    return step("quantize", quantize, data, exported, settings=settings, facts=QuantizeFacts)


def evaluate_step(
    config: RunConfig, teacher: TeacherStages, student: StudentStages
) -> Step[EvaluateFacts]:
    """Quality and fidelity of the ONNX files."""
    settings = EvaluateSettings(
        task=teacher.context.task, evaluate=config.evaluate, seed=config.seed
    )
    return step(
        "evaluate",
        evaluate,
        teacher.data,
        student.exported,
        student.quantized,
        settings=settings,
        facts=EvaluateFacts,
    )


def benchmark_step(
    config: RunConfig, teacher: TeacherStages, student: StudentStages
) -> Step[BenchmarkFacts]:
    """Latency of the ONNX files on this machine, and whether the overhead is gone."""
    settings = BenchmarkSettings(
        context=teacher.context, benchmark=config.benchmark, machine=describe_machine()
    )
    return step(
        "benchmark",
        benchmark,
        teacher.data,
        teacher.teacher,
        student.exported,
        student.quantized,
        settings=settings,
        facts=BenchmarkFacts,
    )
