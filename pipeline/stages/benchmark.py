"""Stage benchmark: the proof that the adapters' overhead is gone, and how fast the student is.

The structure comes first, from the graphs alone. Then four arms are timed, cell by cell, in thread
CPU time. The arms are the plain backbone, the same file again, the adapter teacher and the student.
The second arm shows noise, as any difference to the first is noise (A/A). The teacher shows
sensitivity, as it is known to be slower. The verdict follows from these. Last come times that users
notice, in wall time. They are the ladder from the teacher in PyTorch to the file that ships, and
each file with all cores.
"""

from dataclasses import dataclass
from pathlib import Path

from pipeline.checkpoints.context import ModelContext
from pipeline.config import BenchmarkConfig
from pipeline.facts.arms import EXPORTED, PLAIN, STUDENT, TEACHER, Arm
from pipeline.facts.benchmark import BenchmarkFacts
from pipeline.facts.data import DataFacts
from pipeline.facts.export import ExportFacts
from pipeline.facts.training import TeacherFacts
from pipeline.facts.variants import QuantizeFacts
from pipeline.inference.classifier import MODEL
from pipeline.store.stage import Stage
from pipeline.texts.tables import read_split
from pipeline.timing.measure import measure
from pipeline.timing.measurement import write_measurement
from pipeline.timing.plan import MeasurementPlan
from pipeline.timing.summary import describe_measurement
from pipeline.timing.torch_teacher import TorchTeacher
from pipeline.timing.workload import decode_steps, fixed_shapes, own_lengths, smallest_vocabulary

MEASUREMENT = "benchmark.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchmarkSettings:
    """Settings that shape a measurement of the chain, beside texts and files."""

    context: ModelContext
    benchmark: BenchmarkConfig
    machine: dict[str, str]


def benchmark(
    data: Stage[DataFacts],
    teacher: Stage[TeacherFacts],
    exported: Stage[ExportFacts],
    quantized: Stage[QuantizeFacts] | None,
    settings: BenchmarkSettings,
    out: Path,
) -> BenchmarkFacts:
    """Measure the exported files, and write all measurements to ``out``.

    Args:
        data: Splits whose texts are measured.
        teacher: Teacher stage, with which the ladder begins.
        exported: Export stage with the files of the four arms.
        quantized: Quantize stage with the student's variants; None where it did not run.
        settings: Settings of the measurement.
        out: Folder for the measurements.

    Raises:
        RuntimeError: when a measuring process fails, with its message.
    """
    plan = _plan(data, teacher, exported, quantized, settings)
    measurement = measure(plan, settings.benchmark, seed=settings.context.seed)
    write_measurement(measurement, out / MEASUREMENT)
    return describe_measurement(measurement, settings.benchmark.confidence)


def _plan(
    data: Stage[DataFacts],
    teacher: Stage[TeacherFacts],
    exported: Stage[ExportFacts],
    quantized: Stage[QuantizeFacts] | None,
    settings: BenchmarkSettings,
) -> MeasurementPlan:
    context, config = settings.context, settings.benchmark
    files = {arm: exported.folder / arm / MODEL for arm in EXPORTED}
    vocabulary = smallest_vocabulary(exported.folder / arm for arm in files)
    # The model takes no more than max_length tokens, so longer lengths are measured there.
    lengths = sorted({min(length, context.max_length) for length in config.lengths})
    workloads = fixed_shapes(config.batch_sizes, lengths, vocabulary=vocabulary, seed=context.seed)
    if context.task.continues:
        past = sorted({min(before, context.max_length) for before in config.past_lengths})
        workloads += decode_steps(
            config.batch_sizes, past, vocabulary=vocabulary, seed=context.seed
        )
    texts = own_lengths(
        exported.folder / STUDENT,
        read_split(data.folder, "test").texts,
        count=config.own_lengths or 1,
        max_length=context.max_length,
        vocabulary=vocabulary,
    )
    return MeasurementPlan(
        files=files | _shipped(quantized),
        candidate=STUDENT,
        baseline=PLAIN,
        teacher=TEACHER,
        others=(),
        workloads=[*workloads, texts] if config.own_lengths else workloads,
        texts=texts,
        torch_teacher=TorchTeacher(folder=teacher.folder, backbone=context.backbone.folder),
    )


def _shipped(quantized: Stage[QuantizeFacts] | None) -> dict[Arm, Path]:
    """Return the shipped file by its arm, unless it is the student's exported file."""
    if quantized is None or quantized.facts.arm == STUDENT:
        return {}
    onnx = (quantized.folder / STUDENT / MODEL).parent
    return {quantized.facts.arm: onnx / quantized.facts.file}
