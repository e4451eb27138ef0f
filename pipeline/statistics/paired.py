"""Two models on the same texts: what the second is better or worse at, and whether that is luck.

Only texts on which exactly one of the two is right tell them apart. McNemar's exact test (1947,
https://doi.org/10.1007/BF02295996) asks whether these are split evenly; paired bootstraps (Efron &
Tibshirani, 1993, section 13.3) say how large the difference of every metric may be, far more
narrowly than the models' own intervals do.

Shapes: N = texts, C = classes.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from pipeline.facts.quality import Measured
from pipeline.statistics.bootstrap import measure_statistic, resamples
from pipeline.tasks.task import Metrics, Task

_RESAMPLES, _SEED = 1000, 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Paired:
    """A candidate against a baseline."""

    texts: int
    baseline: Metrics
    candidate: Metrics
    change: Measured
    """Candidate minus baseline, metric by metric."""
    confidence: float
    """Level of the intervals."""
    only_baseline_right: int
    """Texts."""
    only_candidate_right: int
    p_value: float
    """McNemar's exact test, two-sided."""


def compare_paired(
    baseline: np.ndarray,
    candidate: np.ndarray,
    labels: np.ndarray,
    *,
    task: Task,
    confidence: float,
) -> Paired:
    """Return how a candidate does against a baseline.

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

    lost, won = count_discordant(baseline, candidate, labels, task=task)
    return Paired(
        texts=len(labels),
        baseline=task.metrics(baseline, labels),
        candidate=task.metrics(candidate, labels),
        change=measure_statistic(change, resamples(len(labels), _RESAMPLES, _SEED), confidence),
        confidence=confidence,
        only_baseline_right=lost,
        only_candidate_right=won,
        p_value=float(stats.binomtest(won, won + lost).pvalue) if won + lost else 1.0,
    )


def count_discordant(
    baseline: np.ndarray, candidate: np.ndarray, labels: np.ndarray, *, task: Task
) -> tuple[int, int]:
    """Return on how many texts only the baseline is right, and on how many only the candidate."""
    before = task.predictions(baseline) == labels  # (N,)
    after = task.predictions(candidate) == labels  # (N,)
    return int((before & ~after).sum()), int((after & ~before).sum())
