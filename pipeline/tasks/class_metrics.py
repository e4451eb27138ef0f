"""Metrics of classes: quality, calibration, and closeness of two models; numpy alone.

Shapes: N = texts, C = classes.
"""

from collections.abc import Callable

import numpy as np

from pipeline.facts.quality import Metrics
from pipeline.statistics.statistic import Contributions, Statistic

_BINS = 15
_BLOCK = 4096
"""Texts whose probabilities are in memory together."""


def _quality_by_text(logits: np.ndarray, labels: np.ndarray) -> Contributions:
    """Return the contributions of each text to the metrics.

    Returns:
        classes: (N, 2), label and predicted class.
        hit: (N,), whether both are equal.
        bin: (N,), the bin of the confidence.
        gap: (N,), 1 for a right or 0 for a wrong class, minus the confidence.
    """
    predicted = logits.argmax(axis=1)
    confidence, chosen = _in_blocks(_confidence_and_choice, logits)  # (N,) each
    return {
        "classes": np.stack([labels, predicted], axis=1),
        "hit": predicted == labels,
        "bin": np.minimum((confidence * _BINS).astype(int), _BINS - 1),
        "gap": (chosen == labels) - confidence,
    }


def _summarise_quality(texts: Contributions) -> Metrics:
    """Return accuracy, macro-F1 and expected calibration error, each in [0, 1]."""
    return {
        "accuracy": float(texts["hit"].mean()),
        "macro_f1": _macro_f1(texts["classes"], texts["hit"]),
        "calibration_error": _calibration_error(texts["bin"], texts["gap"]),
    }


def _macro_f1(classes: np.ndarray, hit: np.ndarray) -> float:
    """Return the mean of the F1 of every class that occurs, as scikit-learn defines it."""
    counted = np.bincount(classes.ravel())  # (C,), as label and as prediction
    correct = np.bincount(classes[hit, 0], minlength=len(counted))  # (C,)
    occurs = counted > 0
    return float((2 * correct[occurs] / counted[occurs]).mean())


def _calibration_error(bin_of: np.ndarray, gap: np.ndarray) -> float:
    """Return the mean gap between confidence and accuracy over bins of equal width.

    Guo et al., 2017, https://arxiv.org/abs/1706.04599, section 2: the sum over bins of
    ``n_bin / N * |accuracy - confidence|``, the confidence being the largest probability.
    """
    return float(np.abs(np.bincount(bin_of, weights=gap)).sum() / len(gap))


def _confidence_and_choice(logits: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return the largest probability of each text and its class, (N,) each."""
    probabilities = softmax_rows(logits.astype(np.float64))
    return probabilities.max(axis=1), probabilities.argmax(axis=1)


def _fidelity_by_text(student: np.ndarray, teacher: np.ndarray) -> Contributions:
    """Return per text whether the classes agree, the divergence and the largest difference."""
    divergence, largest = _in_blocks(_distances, student, teacher)
    return {
        "agrees": student.argmax(axis=1) == teacher.argmax(axis=1),
        "kl": divergence,
        "largest": largest,
    }


def _summarise_fidelity(texts: Contributions) -> Metrics:
    """Return agreement, mean KL(teacher || student) in nats and the largest logit difference."""
    return {
        "agreement": float(texts["agrees"].mean()),
        "mean_kl": float(texts["kl"].mean()),
        "max_abs_logit_difference": float(texts["largest"].max()),
    }


def _distances(student: np.ndarray, teacher: np.ndarray) -> tuple[np.ndarray, ...]:
    return kl_per_example(student, teacher), np.abs(student - teacher).max(axis=1)


CLASS_QUALITY = Statistic(
    contributions=_quality_by_text,
    summarise=_summarise_quality,
    centred={"macro_f1": (0.0, 1.0), "calibration_error": (0.0, 1.0)},
)
"""Metrics of (logits, labels)."""
CLASS_FIDELITY = Statistic(contributions=_fidelity_by_text, summarise=_summarise_fidelity)
"""Closeness of (student's logits, teacher's logits)."""


def _in_blocks(
    function: Callable[..., tuple[np.ndarray, ...]], *arrays: np.ndarray
) -> list[np.ndarray]:
    """Wrap a function of independent rows, so that it takes arrays of any length."""
    starts = range(0, len(arrays[0]), _BLOCK)
    blocks = [function(*(each[start : start + _BLOCK] for each in arrays)) for start in starts]
    return [np.concatenate(parts) for parts in zip(*blocks, strict=True)]


def kl_per_example(student: np.ndarray, teacher: np.ndarray) -> np.ndarray:
    """Return KL(teacher || student) of each example, (N,), in nats, at temperature 1."""
    log_student = _log_softmax_rows(student.astype(np.float64))
    log_teacher = _log_softmax_rows(teacher.astype(np.float64))
    divergence: np.ndarray = (np.exp(log_teacher) * (log_teacher - log_student)).sum(axis=1)
    return divergence


def softmax_rows(logits: np.ndarray) -> np.ndarray:
    """Return each row's probabilities, (N, C)."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
    return probabilities


def _log_softmax_rows(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_probabilities: np.ndarray = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return log_probabilities


def wrong_labels(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return 1 for each text whose class is wrong and 0 for the others, (N,)."""
    return np.asarray(logits.argmax(axis=1) != labels, dtype=np.float64)
