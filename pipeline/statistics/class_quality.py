"""Loss of each class: recall of the student against its teacher.

An average hides a rare class that is lost altogether. But a rare class has few texts, and of many
classes one always looks bad by luck. Each loss of recall therefore has Tango's score interval for
paired proportions (1998, Statistics in Medicine 17, 891-908). It stays honest for a handful of
texts, where a bootstrap collapses to a point. All classes share one level of error (Bonferroni),
because the worst of them is picked afterwards. Recall suffices: a text that spoils the precision of
one class is missing in the recall of its own.

Shapes: N = texts, C = classes.
"""

import math
from collections.abc import Sequence

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtri

from pipeline.facts.quality import ClassQuality, Interval


def measure_classes(
    teacher: np.ndarray,
    student: np.ndarray,
    labels: np.ndarray,
    names: Sequence[str],
    *,
    confidence: float,
) -> tuple[ClassQuality, ...]:
    """Return every class that has texts, in class order; a text may be in any number of them.

    Args:
        teacher: (N, C) booleans, the classes that it answers with.
        student: (N, C) booleans.
        labels: (N, C) booleans.
        names: Names of the C classes.
        confidence: That all intervals hold together, at least.
    """
    texts = labels.sum(axis=0)  # (C,)
    present = np.flatnonzero(texts)
    level = 1 - (1 - confidence) / max(1, len(present))
    hits = [each & labels for each in (teacher, student)]  # (N, C) each
    lost, won = (only.sum(axis=0) for only in (hits[0] & ~hits[1], hits[1] & ~hits[0]))  # (C,) each
    recalls = [each.sum(axis=0) / np.maximum(texts, 1) for each in hits]
    f1s = [
        2 * hit.sum(axis=0) / np.maximum(texts + chosen.sum(axis=0), 1)
        for hit, chosen in zip(hits, (teacher, student), strict=True)
    ]
    return tuple(
        ClassQuality(
            label=names[index],
            texts=int(texts[index]),
            teacher_recall=float(recalls[0][index]),
            student_recall=float(recalls[1][index]),
            teacher_f1=float(f1s[0][index]),
            student_f1=float(f1s[1][index]),
            recall_lost=float((lost[index] - won[index]) / texts[index]),
            interval=paired_difference(int(lost[index]), int(won[index]), int(texts[index]), level),
        )
        for index in present.tolist()
    )


def paired_difference(first: int, second: int, texts: int, confidence: float) -> Interval:
    """Return Tango's score interval of ``(first - second) / texts``.

    Args:
        first: Pairs of which only the first member is a hit.
        second: Pairs of which only the second is.
        texts: All pairs.
        confidence: Two-sided level.
    """
    quantile = float(ndtri((1 + confidence) / 2))
    found = (first - second) / texts

    def excess(difference: float, side: float) -> float:
        return side * _score(first, second, texts, difference) - quantile

    low = -1.0 if found <= -1 else brentq(excess, -1 + 1e-12, found, args=(1.0,))
    high = 1.0 if found >= 1 else brentq(excess, found, 1 - 1e-12, args=(-1.0,))
    return float(low), float(high)


def _score(first: int, second: int, texts: int, difference: float) -> float:
    """Return the score statistic of the hypothesis that the difference is this one.

    Tango's equations 8 to 11: the variance at the restricted maximum-likelihood estimate of the
    second discordant probability.
    """
    linear = -first - second + (2 * texts - first + second) * difference
    constant = -second * difference * (1 - difference)
    root = math.sqrt(max(0.0, linear**2 - 8 * texts * constant))
    probability = (root - linear) / (4 * texts)
    variance = texts * (2 * probability + difference * (1 - difference))
    gap = first - second - texts * difference
    if gap == 0:
        return 0.0
    return gap / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, gap)
