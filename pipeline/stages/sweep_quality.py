"""Stage sweep-quality: every file of a sweep on the validation and on the test split.

The validation split chooses students, and the test split reports them. All files see the same
resamples, so that a difference from the teacher is paired.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.config import EvaluateConfig
from pipeline.facts.arms import PLAIN, TEACHER, Arm
from pipeline.facts.data import DataFacts
from pipeline.facts.export import ExportFacts
from pipeline.facts.sweep import FileQuality, StudentFile, SweepQuality
from pipeline.facts.variants import QuantizeFacts
from pipeline.inference.classifier import load_bundle
from pipeline.statistics.bootstrap import Resamples
from pipeline.store.stage import Stage
from pipeline.tasks.measuring import MeasuredModels
from pipeline.tasks.task import Task
from pipeline.texts.tables import Split, read_split

MEASURED_SPLITS = ("validation", "test")


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepQualitySettings:
    """Settings that shape a sweep's measured quality, beside texts and students."""

    task: Task
    files: tuple[StudentFile, ...]
    """Files of students that may ship."""
    evaluate: EvaluateConfig
    seed: int


def measure_quality(
    data: Stage[DataFacts],
    exported: Stage[ExportFacts],
    _quantized: tuple[Stage[QuantizeFacts], ...],
    settings: SweepQualitySettings,
    out: Path,
) -> SweepQuality:
    """Measure all files, and write their outputs to ``out``.

    Args:
        data: Splits on which the files are measured.
        exported: Export stage of any student, as all have the same plain backbone and teacher.
        _quantized: Stages that hold the files.
        settings: Files to measure, and settings of the measurement.
        out: Folder for the outputs.
    """
    splits = {
        name: _run_all(read_split(data.folder, name), exported, settings)
        for name in MEASURED_SPLITS
    }
    for name, split in splits.items():
        np.savez_compressed(
            out / f"{name}.npz",
            allow_pickle=False,
            labels=read_split(data.folder, name).labels,
            **{str(name): found for name, found in split.outputs.items()},
        )
    return SweepQuality(
        texts={name: len(split.labels) for name, split in splits.items()},
        confidence=settings.evaluate.confidence,
        files={
            file: FileQuality(
                validation=splits["validation"].both(file, TEACHER),
                test=splits["test"].both(file, TEACHER),
                change=splits["test"].change(file, TEACHER),
            )
            for file in splits["test"].outputs
        },
    )


def _run_all(
    split: Split, exported: Stage[ExportFacts], settings: SweepQualitySettings
) -> MeasuredModels:
    bundles = {name: (exported.folder / name, None) for name in (TEACHER, PLAIN)}
    students = {file.name: (file.bundle, file.runtime) for file in settings.files}
    config = settings.evaluate
    outputs: dict[Arm, np.ndarray] = {}
    for name, (bundle, runtime) in {**bundles, **students}.items():
        outputs[name] = load_bundle(bundle, runtime=runtime).readings(
            split.texts,
            batch_size=config.batch_size,
            title=f"evaluating {name}",
            teacher=outputs.get(TEACHER),
        )
    return MeasuredModels(
        task=settings.task,
        outputs={name: outputs[name] for name in (PLAIN, TEACHER, *students)},
        labels=settings.task.truth(split.texts, split.labels),
        samples=Resamples(texts=len(split), count=config.bootstrap_samples, seed=settings.seed),
        confidence=config.confidence,
    )
