"""Confidence intervals of ratios, from one log-ratio a block.

A block has fresh sessions of all arms and is one sample; calls within it are not independent.
On the log scale slower by a factor and faster by it are the same distance, and errors multiply.
"""

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import stdtrit

from pipeline.facts.latency import Estimate

Logs = Sequence[float] | np.ndarray


def estimate_ratio(logs: Logs, confidence: float) -> Estimate:
    """Return the geometric mean of ratios, with Student's interval of the mean log-ratio.

    Args:
        logs: Two or more log-ratios, one a block.
        confidence: Two-sided confidence level.
    """
    values = np.asarray(logs, dtype=np.float64)
    error = values.std(ddof=1) / math.sqrt(len(values))
    return _estimate(float(values.mean()), float(error), len(values) - 1, confidence)


def estimate_mean(samples: Sequence[Logs], confidence: float) -> Estimate:
    """Return the geometric mean of several independent ratios, each with its own blocks.

    Degrees of freedom are Welch's and Satterthwaite's (Welch, 1947, Biometrika 34).
    """
    means, errors, freedom = _moments(samples)
    count = len(samples)
    return _estimate(
        float(means.mean()),
        math.sqrt(errors.sum()) / count,
        _satterthwaite(errors, freedom),
        confidence,
    )


def estimate_change(new: Logs, old: Logs, confidence: float) -> Estimate:
    """Return the ratio of two independent ratios, ``new / old``, with Welch's interval."""
    means, errors, freedom = _moments([new, old])
    difference = float(means[0] - means[1])
    return _estimate(
        difference, math.sqrt(errors.sum()), _satterthwaite(errors, freedom), confidence
    )


def estimate_removed(part: Logs, whole: Logs, confidence: float) -> tuple[float, float, float]:
    """Return ``1 - mean(part) / mean(whole)`` and its interval, paired over blocks.

    The interval is Fieller's (1954, J. R. Stat. Soc. B 16): all r for which the mean of
    ``part - r * whole`` is not significantly away from zero. Where ``whole`` itself is not
    significantly away from zero it has no ends: they are infinite.
    """
    parts = np.asarray(part, dtype=np.float64)
    wholes = np.asarray(whole, dtype=np.float64)
    count = len(parts)
    quantile = float(stdtrit(count - 1, (1 + confidence) / 2))
    covariance = np.cov(parts, wholes) / count * quantile**2
    mean_part, mean_whole = float(parts.mean()), float(wholes.mean())
    value = 1 - mean_part / mean_whole if mean_whole else math.nan
    a = mean_whole**2 - covariance[1, 1]
    b = mean_part * mean_whole - covariance[0, 1]
    c = mean_part**2 - covariance[0, 0]
    if a <= 0:
        return value, -math.inf, math.inf
    root = math.sqrt(max(0.0, b * b - a * c))
    return value, 1 - float(b + root) / float(a), 1 - float(b - root) / float(a)


def _moments(samples: Sequence[Logs]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return mean, squared standard error and degrees of freedom of each sample."""
    arrays = [np.asarray(sample, dtype=np.float64) for sample in samples]
    means = np.array([each.mean() for each in arrays])
    errors = np.array([each.var(ddof=1) / len(each) for each in arrays])
    return means, errors, np.array([len(each) - 1 for each in arrays])


def _satterthwaite(errors: np.ndarray, freedom: np.ndarray) -> float:
    total = errors.sum()
    return float(total**2 / (errors**2 / freedom).sum()) if total else float(freedom.sum())


def _estimate(mean: float, error: float, freedom: float, confidence: float) -> Estimate:
    half = float(stdtrit(freedom, (1 + confidence) / 2)) * error
    return Estimate(value=math.exp(mean), low=math.exp(mean - half), high=math.exp(mean + half))
