"""Stage sweep-quality: every file of a sweep on the validation and on the test split.

Students are chosen by the one and reported on the other. All files see the same resamples, so that
a difference to the teacher is paired.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.config import EvaluateConfig
from pipeline.facts.arms import PLAIN, TEACHER, Arm
from pipeline.facts.data import DataFacts
from pipeline.facts.export import ExportFacts
from pipeline.facts.quality import Measured, Metrics
from pipeline.facts.sweep import FileQuality, StudentFile, SweepQuality
from pipeline.facts.variants import QuantizeFacts
from pipeline.inference.classifier import load_bundle
from pipeline.statistics.bootstrap import measure_statistic, resamples
from pipeline.store.stage import Stage
from pipeline.tasks.task import Task, quality_change
from pipeline.texts.tables import Split, read_split

SPLITS = ("validation", "test")


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepQualitySettings:
    """What shapes a sweep's measured quality, beside texts and students."""

    task: Task
    files: tuple[StudentFile, ...]
    """Those that may ship."""
    evaluate: EvaluateConfig
    seed: int


def measure_quality(
    data: Stage[DataFacts],
    exported: Stage[ExportFacts],
    _quantized: tuple[Stage[QuantizeFacts], ...],
    settings: SweepQualitySettings,
    out: Path,
) -> SweepQuality:
    """Measure all files; write their outputs to ``out``.

    Args:
        exported: Any of the students' export stages: plain backbone and teacher are the same in
            all.
        _quantized: The stages that hold the files.
    """
    confidence = settings.evaluate.confidence
    splits = {
        name: _measured_split(read_split(data.folder, name), exported, settings) for name in SPLITS
    }
    for name, split in splits.items():
        np.savez_compressed(
            out / f"{name}.npz", allow_pickle=False, labels=split.labels, **split.outputs
        )
    return SweepQuality(
        texts={name: len(split.labels) for name, split in splits.items()},
        confidence=confidence,
        files={
            file: FileQuality(
                validation=splits["validation"].quality(file, confidence),
                test=splits["test"].quality(file, confidence),
                change=splits["test"].change(file, confidence),
            )
            for file in splits["test"].outputs
        },
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Measured:
    """All files on one split, and the resamples that they share."""

    task: Task
    outputs: dict[Arm, np.ndarray]
    labels: np.ndarray
    samples: np.ndarray

    def quality(self, file: Arm, confidence: float) -> Measured:
        """Return a file's metrics, and its closeness to the teacher."""

        def statistic(rows: np.ndarray) -> Metrics:
            own, teacher = self.outputs[file][rows], self.outputs[TEACHER][rows]
            return self.task.metrics(own, self.labels[rows]) | self.task.fidelity(own, teacher)

        return measure_statistic(statistic, self.samples, confidence)

    def change(self, file: Arm, confidence: float) -> Measured:
        """Return a file's metrics minus the teacher's."""

        def statistic(rows: np.ndarray) -> Metrics:
            own, teacher = self.outputs[file][rows], self.outputs[TEACHER][rows]
            return quality_change(self.task, own, teacher, self.labels[rows])

        return measure_statistic(statistic, self.samples, confidence)


def _measured_split(
    split: Split, exported: Stage[ExportFacts], settings: SweepQualitySettings
) -> _Measured:
    bundles = {name: (exported.folder / name, None) for name in (PLAIN, TEACHER)}
    students = {file.name: (file.bundle, file.runtime) for file in settings.files}
    config = settings.evaluate
    return _Measured(
        task=settings.task,
        outputs={
            name: load_bundle(bundle, runtime=runtime).outputs(
                split.texts, batch_size=config.batch_size, title=f"evaluating {name}"
            )
            for name, (bundle, runtime) in {**bundles, **students}.items()
        },
        labels=split.labels,
        samples=resamples(len(split), config.bootstrap_samples, settings.seed),
    )
