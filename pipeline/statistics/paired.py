"""Two models on the same texts: what the second is better or worse at, and whether that is luck.

Only texts on which the models' errors differ tell them apart. The sign test asks whether these are
split evenly; where an error is 0 or 1 it is McNemar's exact test (1947,
https://doi.org/10.1007/BF02295996). Paired bootstraps (Efron & Tibshirani, 1993, section 13.3) say
how large the difference of every metric may be, far more narrowly than the models' own intervals.

Shapes: N = texts, C = outputs per text.
"""

from collections.abc import Callable

import numpy as np
from scipy import stats

from pipeline.facts.paired import Paired
from pipeline.facts.quality import Metrics
from pipeline.statistics.bootstrap import measure_statistic, resamples

_RESAMPLES, _SEED = 1000, 0


def compare_paired(
    baseline: np.ndarray,
    candidate: np.ndarray,
    labels: np.ndarray,
    *,
    metrics: Callable[[np.ndarray, np.ndarray], Metrics],
    errors: Callable[[np.ndarray, np.ndarray], np.ndarray],
    confidence: float,
) -> Paired:
    """Return how a candidate does against a baseline.

    Args:
        baseline: Outputs, (N, C).
        candidate: Outputs on the same texts, (N, C).
        labels: (N,).
        metrics: (outputs, labels) -> named values.
        errors: (outputs, labels) -> (N,), the error of each text.
        confidence: Level of the intervals, between 0 and 1.
    """

    def change(rows: np.ndarray) -> Metrics:
        new = metrics(candidate[rows], labels[rows])
        old = metrics(baseline[rows], labels[rows])
        return {name: new[name] - old[name] for name in new}

    before, after = errors(baseline, labels), errors(candidate, labels)  # (N,)
    lost, won = int((before < after).sum()), int((after < before).sum())
    return Paired(
        texts=len(labels),
        baseline=metrics(baseline, labels),
        candidate=metrics(candidate, labels),
        change=measure_statistic(change, resamples(len(labels), _RESAMPLES, _SEED), confidence),
        confidence=confidence,
        baseline_better=lost,
        candidate_better=won,
        p_value=float(stats.binomtest(won, won + lost).pvalue) if won + lost else 1.0,
    )
