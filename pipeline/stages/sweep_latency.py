"""Stage sweep-latency: the time of a text in every file of a sweep, in one measurement.

It is the benchmark's ladder with more rungs. These are the adapter teacher in PyTorch, the teacher
and the plain backbone in onnxruntime, and every student. Processes take turns, block by block, in
random order, so that a disturbance of the machine affects them all.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from tqdm.auto import tqdm

from pipeline.checkpoints.context import ModelContext
from pipeline.config import BenchmarkConfig
from pipeline.facts.arms import PLAIN, TEACHER
from pipeline.facts.data import DataFacts
from pipeline.facts.export import ExportFacts
from pipeline.facts.sweep import StudentFile, SweepTimes
from pipeline.facts.training import TeacherFacts
from pipeline.facts.variants import QuantizeFacts
from pipeline.inference.classifier import MODEL
from pipeline.store.files import write_atomic
from pipeline.store.stage import Stage
from pipeline.texts.tables import read_split
from pipeline.timing.ladder import describe_rungs, measure_ladder
from pipeline.timing.machine import ConditionsMeter
from pipeline.timing.torch_teacher import TorchTeacher
from pipeline.timing.workload import own_lengths, smallest_vocabulary
from pipeline.workers.bars import hides_bars

LATENCY = "latency.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepLatencySettings:
    """Settings that shape a sweep's times, beside texts and students."""

    context: ModelContext
    files: tuple[StudentFile, ...]
    """Files of students that may ship."""
    benchmark: BenchmarkConfig
    """Settings of the measurement, of which the ladder's blocks and time limit are used."""
    machine: dict[str, str]


def measure_latency(
    data: Stage[DataFacts],
    teacher: Stage[TeacherFacts],
    exported: Stage[ExportFacts],
    _quantized: tuple[Stage[QuantizeFacts], ...],
    settings: SweepLatencySettings,
    out: Path,
) -> SweepTimes:
    """Time all files, and write every call's time to ``out``.

    Args:
        data: Splits whose texts are timed.
        teacher: Teacher stage, which is the first rung.
        exported: Export stage of any student, as all have the same plain backbone and teacher.
        _quantized: Stages that hold the files.
        settings: Files to time, and settings of the measurement.
        out: Folder for the times.

    Raises:
        RuntimeError: when a measuring process fails, with its message.
    """
    context, config = settings.context, settings.benchmark
    bundles = {name: exported.folder / name for name in (PLAIN, TEACHER)}
    texts = own_lengths(
        bundles[PLAIN],
        read_split(data.folder, "test").texts,
        count=config.own_lengths or 1,
        max_length=context.max_length,
        vocabulary=smallest_vocabulary(bundles.values()),
    )
    paths = {name: bundle / MODEL for name, bundle in bundles.items()}
    paths |= {file.name: file.bundle / "onnx" / file.runtime.file for file in settings.files}
    meter = ConditionsMeter()
    with tqdm(total=config.ladder_blocks, desc="timing", unit="block", disable=hides_bars()) as bar:

        def count(_said: str) -> None:
            bar.update()

        blocks = measure_ladder(
            paths,
            TorchTeacher(folder=teacher.folder, backbone=context.backbone.folder),
            texts,
            config,
            runtimes={file.name: file.runtime for file in settings.files},
            seed=context.seed,
            on_progress=count,
        )
    calls = len(texts.calls)
    raw = {"calls": calls, "blocks": [asdict(block) for block in blocks]}
    write_atomic(out / LATENCY, json.dumps(raw))
    return SweepTimes(
        rungs=describe_rungs(blocks, calls, config.confidence, teacher=TEACHER),
        blocks=len(blocks),
        texts=calls,
        confidence=config.confidence,
        machine=settings.machine,
        conditions=meter.read(),
    )
