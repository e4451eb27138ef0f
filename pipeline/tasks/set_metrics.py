"""Metrics of sets of labels: quality, calibration, and closeness of two models; numpy alone.

A label applies where its probability reaches its threshold. Readings hold the logits and the
threshold of each label as a probability. For logits alone, the threshold is one half.

Shapes: N = texts, C = labels; readings are (N, 2, C).
"""

import numpy as np

from pipeline.facts.quality import Metrics
from pipeline.statistics.statistic import Contributions, Statistic

_BINS = 15
DEFAULT_THRESHOLD = 0.5


def attach_thresholds(logits: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Return readings (N, 2, C) in float32 from logits (N, C) and thresholds (C,)."""
    repeated = np.broadcast_to(thresholds, logits.shape)
    return np.stack([logits, repeated], axis=1).astype(np.float32)


def choose_thresholds(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the threshold of each label with the highest F1, (C,), to four digits.

    Among equally good thresholds, it is the one nearest to one half. A label without texts has one
    half.
    """
    probabilities = sigmoid(logits)
    columns = zip(probabilities.T, labels.T == 1, strict=True)
    return np.array([_best_threshold(column, wanted) for column, wanted in columns])


def _best_threshold(probabilities: np.ndarray, wanted: np.ndarray) -> float:
    """Return the best threshold of one label, by its probabilities, (N,)."""
    if not wanted.any():
        return DEFAULT_THRESHOLD
    order = np.argsort(-probabilities, kind="stable")
    descending = probabilities[order]
    hits = np.cumsum(wanted[order])  # of the first 1, 2, ... N texts
    f1 = 2 * hits / (np.arange(1, len(hits) + 1) + wanted.sum())
    # Between each text and the next, rounded; one that no longer separates them is left out.
    after = np.append(descending[1:], 0.0)
    candidates = np.round((descending + after) / 2, 4)
    parts = (after < candidates) & (candidates <= descending)
    if not parts.any():
        return DEFAULT_THRESHOLD
    best = np.flatnonzero(parts & (f1 >= f1[parts].max() - 1e-12))
    nearest = best[np.abs(candidates[best] - DEFAULT_THRESHOLD).argmin()]
    return float(candidates[nearest])


def chosen_labels(readings: np.ndarray) -> np.ndarray:
    """Return which labels apply to each text, (N, C) booleans."""
    logits, thresholds = _parts(readings)
    applies: np.ndarray = sigmoid(logits) >= thresholds.astype(np.float64)
    return applies


def label_probabilities(readings: np.ndarray) -> np.ndarray:
    """Return the probability of every label, (N, C)."""
    return sigmoid(_parts(readings)[0])


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Return the probability of each logit, in float64."""
    negative = np.exp(-np.abs(logits.astype(np.float64)))  # never overflows
    probabilities: np.ndarray = np.where(logits >= 0, 1.0, negative) / (1 + negative)
    return probabilities


def _parts(readings: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return logits and thresholds, (N, C) each."""
    if readings.ndim == 2:
        return readings, np.full_like(readings, DEFAULT_THRESHOLD)
    return readings[:, 0], readings[:, 1]


def _quality_by_text(readings: np.ndarray, labels: np.ndarray) -> Contributions:
    """Return the contributions of each text to the metrics.

    Returns:
        chosen, wanted: (N, C) booleans.
        place: (N, C), the rank of each probability among the label's own. By it, resamples are
            ranked without being sorted.
        gap: (N, bins), 1 or 0 for a label that applies or not, minus its probability, summed over
            the labels of each bin of probability.
    """
    probabilities = label_probabilities(readings)
    wanted = labels == 1
    bins = np.minimum((probabilities * _BINS).astype(int), _BINS - 1)
    gaps = np.zeros((len(labels), _BINS))
    np.add.at(gaps, (np.arange(len(labels))[:, None], bins), wanted - probabilities)
    places = [np.unique(column, return_inverse=True)[1] for column in probabilities.T]
    return {
        "chosen": chosen_labels(readings),
        "wanted": wanted,
        "place": np.stack(places, axis=1).astype(np.int32),
        "gap": gaps,
    }


def _summarise_quality(texts: Contributions) -> Metrics:
    """Return F1, mean average precision and expected calibration error, each in [0, 1].

    Means over labels include only labels that occur.
    """
    chosen, wanted = texts["chosen"], texts["wanted"]
    hits = (chosen & wanted).sum(axis=0)  # (C,)
    counted = chosen.sum(axis=0) + wanted.sum(axis=0)
    occurs = counted > 0
    return {
        "micro_f1": float(2 * hits.sum() / max(1, counted.sum())),
        "macro_f1": float((2 * hits[occurs] / counted[occurs]).mean()) if occurs.any() else 0.0,
        "mean_average_precision": _mean_average_precision(texts["place"], wanted),
        "calibration_error": float(np.abs(texts["gap"].sum(axis=0)).sum() / chosen.size),
    }


def _mean_average_precision(places: np.ndarray, wanted: np.ndarray) -> float:
    """Return the mean over labels of the area under precision by recall, in steps.

    The area is the sum over thresholds of ``(recall - recall before) * precision``. Texts of equal
    probability share a threshold.
    """
    size, count = int(places.max()) + 1, places.shape[1]
    cells = places + size * np.arange(count, dtype=np.int32)  # (N, C)
    texts, hits = (
        np.bincount(each, minlength=size * count).reshape(count, size)[:, ::-1]
        for each in (cells.ravel(), cells[wanted])
    )  # (C, places), the highest probability first
    found = hits.cumsum(axis=1)
    label, place = np.nonzero(hits)  # places without hits add nothing
    precision = found[label, place] / texts.cumsum(axis=1)[label, place]
    areas = np.bincount(label, weights=hits[label, place] * precision, minlength=count)
    occurs = found[:, -1] > 0
    return float((areas[occurs] / found[occurs, -1]).mean()) if occurs.any() else 0.0


def _fidelity_by_text(student: np.ndarray, teacher: np.ndarray) -> Contributions:
    """Return each text's agreement per label and of the whole set, divergence and distance."""
    same = chosen_labels(student) == chosen_labels(teacher)
    own, other = _parts(student)[0], _parts(teacher)[0]
    return {
        "labels": same.mean(axis=1),
        "whole": same.all(axis=1),
        "kl": _bernoulli_kl(own, other).mean(axis=1),
        "largest": np.abs(own - other).max(axis=1),
    }


def _summarise_fidelity(texts: Contributions) -> Metrics:
    """Return agreement, mean KL(teacher || student) per label and the largest logit difference."""
    return {
        "set_agreement": float(texts["whole"].mean()),
        "label_agreement": float(texts["labels"].mean()),
        "mean_kl": float(texts["kl"].mean()),
        "max_abs_logit_difference": float(texts["largest"].max()),
    }


def _bernoulli_kl(student: np.ndarray, teacher: np.ndarray) -> np.ndarray:
    """Return KL(teacher || student) of each label, (N, C), in nats."""
    own, other = student.astype(np.float64), teacher.astype(np.float64)
    applies = sigmoid(other) * (np.logaddexp(0, -own) - np.logaddexp(0, -other))
    does_not = sigmoid(-other) * (np.logaddexp(0, own) - np.logaddexp(0, other))
    divergence: np.ndarray = applies + does_not
    return divergence


SET_QUALITY = Statistic(
    contributions=_quality_by_text,
    summarise=_summarise_quality,
    centred={
        "macro_f1": (0.0, 1.0),
        "mean_average_precision": (0.0, 1.0),
        "calibration_error": (0.0, 1.0),
    },
)
"""Metrics of (readings, labels)."""
SET_FIDELITY = Statistic(contributions=_fidelity_by_text, summarise=_summarise_fidelity)
"""Closeness of (student's readings, teacher's readings)."""


def wrong_parts(readings: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the share of wrong labels of each text, (N,)."""
    wrong: np.ndarray = (chosen_labels(readings) != (labels == 1)).mean(axis=1)
    return wrong
