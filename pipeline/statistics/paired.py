"""Comparison of two models on the same texts, and whether a difference may be luck.

Only texts on which the models' errors differ distinguish them. The sign test checks whether these
are split evenly. If an error is 0 or 1, it is McNemar's exact test (1947,
https://doi.org/10.1007/BF02295996). Paired bootstraps (Efron & Tibshirani, 1993, section 13.3) give
an interval of the difference of every metric. It is far narrower than the models' own intervals.

Shapes: N = texts, C = outputs per text.
"""

from collections.abc import Callable

import numpy as np
from scipy import stats

from pipeline.facts.paired import Paired
from pipeline.statistics.bootstrap import Resamples, draw
from pipeline.statistics.statistic import Statistic

_RESAMPLES, _SEED = 1000, 0


def compare_paired(
    baseline: np.ndarray,
    candidate: np.ndarray,
    labels: np.ndarray,
    *,
    metrics: Statistic,
    errors: Callable[[np.ndarray, np.ndarray], np.ndarray],
    confidence: float,
) -> Paired:
    """Return how a candidate does against a baseline.

    Args:
        baseline: Outputs, (N, C).
        candidate: Outputs on the same texts, (N, C).
        labels: (N,).
        metrics: Of (outputs, labels).
        errors: (outputs, labels) -> (N,), the error of each text.
        confidence: Level of the intervals, between 0 and 1.
    """
    samples = Resamples(texts=len(labels), count=_RESAMPLES, seed=_SEED)
    old, new = (draw(metrics, each, labels, samples) for each in (baseline, candidate))
    before, after = errors(baseline, labels), errors(candidate, labels)  # (N,)
    lost, won = int((before < after).sum()), int((after < before).sum())
    return Paired(
        texts=len(labels),
        baseline=old.values,
        candidate=new.values,
        change=new.minus(old).measured(confidence),
        confidence=confidence,
        baseline_better=lost,
        candidate_better=won,
        p_value=float(stats.binomtest(won, won + lost).pvalue) if won + lost else 1.0,
    )
