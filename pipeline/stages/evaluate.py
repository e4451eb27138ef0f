"""Stage evaluate: quality and fidelity of the ONNX files on the test split, with intervals.

The ONNX files are measured and not the torch models, because the files ship. All models
see the same resamples of the test texts, so that the interval of a difference is paired.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.config import EvaluateConfig
from pipeline.facts.arms import CONSTANT, EXPORTED, PLAIN, STUDENT, STUDENT_FP32, TEACHER, Arm
from pipeline.facts.data import DataFacts
from pipeline.facts.export import ExportFacts
from pipeline.facts.quality import ClassQuality, EvaluateFacts
from pipeline.facts.variants import QuantizeFacts
from pipeline.inference.classifier import load_bundle
from pipeline.statistics.bootstrap import Resamples
from pipeline.statistics.class_quality import measure_classes
from pipeline.store.stage import Stage
from pipeline.tasks.measuring import MeasuredModels
from pipeline.tasks.task import Task
from pipeline.texts.tables import Split, read_split

OUTPUTS = "outputs.npz"


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateSettings:
    """Settings that shape the measured quality, beside texts and files."""

    task: Task
    evaluate: EvaluateConfig
    seed: int
    baselines: tuple[Arm, ...] = (PLAIN, CONSTANT)
    """Baselines that the student must beat: the head alone, and one answer for all texts."""


def evaluate(
    data: Stage[DataFacts],
    exported: Stage[ExportFacts],
    quantized: Stage[QuantizeFacts] | None,
    settings: EvaluateSettings,
    out: Path,
) -> EvaluateFacts:
    """Measure the bundles on the test split, and write their outputs to ``out``.

    The student is the file that ships, which is the winner of ``quantized`` if that stage ran.
    """
    config, task = settings.evaluate, settings.task
    test = read_split(data.folder, "test")
    bundles = {arm: exported.folder / arm for arm in EXPORTED}
    if quantized is not None:
        bundles |= {STUDENT: quantized.folder / STUDENT, STUDENT_FP32: bundles[STUDENT]}
    outputs = _readings(bundles, test, config.batch_size)
    np.savez_compressed(out / OUTPUTS, allow_pickle=False, labels=test.labels, **outputs)
    measured = MeasuredModels(
        task=task,
        outputs=outputs | {CONSTANT: task.constant(test.labels, outputs[STUDENT])},
        labels=task.truth(test.texts, test.labels),
        samples=Resamples(texts=len(test), count=config.bootstrap_samples, seed=settings.seed),
        confidence=config.confidence,
    )
    return EvaluateFacts(
        texts=len(test),
        confidence=config.confidence,
        **{arm: measured.quality(arm) for arm in outputs},
        fidelity=measured.fidelity(STUDENT, TEACHER),
        fidelity_fp32=measured.fidelity(STUDENT_FP32, TEACHER) if quantized else None,
        change=measured.change(STUDENT, TEACHER),
        classes=_classes(measured, data.facts.labels),
        gains={arm: measured.change(STUDENT, arm) for arm in settings.baselines},
    )


def _readings(bundles: Mapping[Arm, Path], test: Split, batch_size: int) -> dict[Arm, np.ndarray]:
    """Return the readings of every bundle, the teacher's first, because others may need them."""
    outputs: dict[Arm, np.ndarray] = {}
    for arm in sorted(bundles, key=lambda each: each != TEACHER):
        outputs[arm] = load_bundle(bundles[arm]).readings(
            test.texts,
            batch_size=batch_size,
            title=f"evaluating {arm.replace('_', ' ')}",
            teacher=outputs.get(TEACHER),
        )
    return {arm: outputs[arm] for arm in bundles}


def _classes(measured: MeasuredModels, names: Sequence[str]) -> tuple[ClassQuality, ...]:
    if measured.task.members is None:
        return ()
    teacher, student = measured.outputs[TEACHER], measured.outputs[STUDENT]
    found = measured.task.members(teacher, student, measured.labels, names)
    return measure_classes(
        found.teacher, found.student, found.labels, found.names, confidence=measured.confidence
    )
