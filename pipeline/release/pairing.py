"""Two students on the same test texts: what the second is better or worse at, with intervals.

The logits that each run's evaluation wrote are paired text by text. Intervals are percentile
bootstraps of the difference (Efron & Tibshirani, 1993, section 13.3), so they are far narrower
than the difference of two intervals. Students that were measured on other texts can't be paired.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.errors import InputError
from pipeline.proof.bootstrap import measure_statistic, resamples
from pipeline.records import Measured
from pipeline.release.registry import LOGITS, Registry, Version
from pipeline.task import SINGLE_LABEL, Metrics, Task

_RESAMPLES, _SEED = 1000, 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """A candidate against a baseline."""

    baseline: int
    candidate: int
    texts: int
    """How many test texts both saw; 0 where they were measured on different ones."""
    change: Measured | None
    """Candidate minus baseline, metric by metric; None where no text is shared."""


def compare_versions(
    registry: Registry, baseline: Version, candidate: Version, *, confidence: float = 0.95
) -> Comparison:
    """Return what changed from one version to the other on their common test split."""
    pair: dict[str, int] = {"baseline": baseline.number, "candidate": candidate.number}
    if baseline.tags.get("data_digest") != candidate.tags.get("data_digest"):
        return Comparison(**pair, texts=0, change=None)
    old, labels = _student_logits(registry, baseline)
    new, same_labels = _student_logits(registry, candidate)
    if not np.array_equal(labels, same_labels):
        return Comparison(**pair, texts=0, change=None)
    change = paired_change(old, new, labels, task=SINGLE_LABEL, confidence=confidence)
    return Comparison(**pair, texts=len(labels), change=change)


def paired_change(
    baseline: np.ndarray,
    candidate: np.ndarray,
    labels: np.ndarray,
    *,
    task: Task,
    confidence: float,
) -> Measured:
    """Return candidate minus baseline for every metric of the task, with paired intervals.

    Args:
        baseline: (N, C) logits.
        candidate: (N, C) logits on the same texts.
        labels: (N,) class indices.
        task: Whose metrics.
        confidence: Level of the intervals, between 0 and 1.
    """

    def change(rows: np.ndarray) -> Metrics:
        new = task.metrics(candidate[rows], labels[rows])
        old = task.metrics(baseline[rows], labels[rows])
        return {name: new[name] - old[name] for name in new}

    return measure_statistic(change, resamples(len(labels), _RESAMPLES, _SEED), confidence)


def _student_logits(registry: Registry, version: Version) -> tuple[np.ndarray, np.ndarray]:
    """Return (N, C) logits and (N,) labels of a version's test split."""
    with registry.download(version, LOGITS) as path:
        return read_logits(path)


def read_logits(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the student's logits, (N, C), and the labels, (N,), that an evaluation wrote."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            logits, labels = arrays["student"], arrays["labels"]
    # numpy and zipfile raise half a dozen kinds of errors for damaged archives.
    except Exception as error:
        raise InputError(
            f"Cannot read the logits in {path}: {error} Register the run again."
        ) from error
    if logits.ndim != 2 or labels.shape != (len(logits),) or not len(labels):
        raise InputError(f"{path} does not hold one row of logits and one label a text.")
    return logits, labels
