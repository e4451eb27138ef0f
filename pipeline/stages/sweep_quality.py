"""Stage sweep-quality: every file of a sweep on the validation and on the test split.

Students are chosen by the one and reported on the other. All files see the same resamples, so that
a difference to the teacher is paired.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pipeline.config import EvaluateConfig
from pipeline.facts.data import DataFacts
from pipeline.facts.export import ExportFacts
from pipeline.facts.quality import Measured
from pipeline.facts.sweep import PLAIN, TEACHER, FileQuality, StudentFile, SweepQuality
from pipeline.inference.classifier import load_bundle
from pipeline.statistics.bootstrap import measure_statistic, resamples
from pipeline.store.stage import Stage
from pipeline.tasks.task import Metrics, Task
from pipeline.texts.tables import Split, read_split

SPLITS = ("validation", "test")


def measure_quality(
    data: Stage[DataFacts],
    exported: Stage[ExportFacts],
    files: Sequence[StudentFile],
    config: EvaluateConfig,
    out: Path,
    *,
    task: Task,
    seed: int,
) -> SweepQuality:
    """Measure all files; write their logits to ``out``.

    Args:
        exported: Any of the students' export stages: plain backbone and teacher are the same in
            all.
        files: Those that may ship.
    """
    splits = {name: read_split(data.folder, name) for name in SPLITS}
    logits = {name: _all_logits(exported, files, split, config) for name, split in splits.items()}
    for name, split in splits.items():
        np.savez_compressed(
            out / f"{name}.npz", allow_pickle=False, labels=split.labels, **logits[name]
        )
    samples = {
        name: resamples(len(split), config.bootstrap_samples, seed)
        for name, split in splits.items()
    }

    def measure(split: str, file: str, *, against_teacher: bool = False) -> Measured:
        labels, all_logits = splits[split].labels, logits[split]

        def quality(rows: np.ndarray) -> Metrics:
            own, teacher = all_logits[file][rows], all_logits[TEACHER][rows]
            return task.metrics(own, labels[rows]) | task.fidelity(own, teacher)

        def change(rows: np.ndarray) -> Metrics:
            own, teacher = (
                task.metrics(all_logits[name][rows], labels[rows]) for name in (file, TEACHER)
            )
            return {name: own[name] - teacher[name] for name in own}

        statistic = change if against_teacher else quality
        return measure_statistic(statistic, samples[split], config.confidence)

    return SweepQuality(
        texts={name: len(split) for name, split in splits.items()},
        confidence=config.confidence,
        files={
            file: FileQuality(
                validation=measure("validation", file),
                test=measure("test", file),
                change=measure("test", file, against_teacher=True),
            )
            for file in logits["test"]
        },
    )


def _all_logits(
    exported: Stage[ExportFacts],
    files: Sequence[StudentFile],
    split: Split,
    config: EvaluateConfig,
) -> Mapping[str, np.ndarray]:
    bundles = {name: (exported.folder / name, None) for name in (PLAIN, TEACHER)}
    students = {file.name: (file.bundle, file.runtime) for file in files}
    return {
        name: load_bundle(bundle, runtime=runtime).logits(
            split.texts, batch_size=config.batch_size, title=f"evaluating {name}"
        )
        for name, (bundle, runtime) in {**bundles, **students}.items()
    }
