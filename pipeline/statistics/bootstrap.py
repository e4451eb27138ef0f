"""Intervals of any statistic of a test split: percentile bootstraps over its texts.

Efron & Tibshirani, 1993, An Introduction to the Bootstrap, section 13.3.
"""

from collections.abc import Callable

import numpy as np

from pipeline.facts.quality import Measured, Metrics


def resamples(texts: int, count: int, seed: int) -> np.ndarray:
    """Return rows drawn with replacement, (count, texts)."""
    return np.random.default_rng(seed).integers(texts, size=(count, texts))


def measure_statistic(
    statistic: Callable[[np.ndarray], Metrics], samples: np.ndarray, confidence: float
) -> Measured:
    """Return a statistic over all rows with its percentile intervals over the resamples.

    Args:
        statistic: Of some rows of the split, by their numbers.
        samples: As `resamples` draws them.
        confidence: Level of the intervals.
    """
    values = statistic(np.arange(samples.shape[1]))
    draws = [statistic(rows) for rows in samples]
    tail = 50 * (1 - confidence)
    intervals = {}
    for name in values:
        low, high = np.percentile([draw[name] for draw in draws], [tail, 100 - tail])
        intervals[name] = (float(low), float(high))
    return Measured(values=values, intervals=intervals)
