"""Metrics of classes: quality, calibration, and closeness of two models; numpy alone.

Shapes: N = texts, C = classes.
"""

import numpy as np

from pipeline.facts.quality import Metrics


def classification_metrics(logits: np.ndarray, labels: np.ndarray) -> Metrics:
    """Return accuracy, macro-F1 and expected calibration error, each in [0, 1]."""
    predicted = logits.argmax(axis=1)
    return {
        "accuracy": float((predicted == labels).mean()),
        "macro_f1": _macro_f1(predicted, labels, classes=logits.shape[1]),
        "calibration_error": expected_calibration_error(logits, labels),
    }


def _macro_f1(predicted: np.ndarray, labels: np.ndarray, *, classes: int) -> float:
    """Return the mean of the F1 of every class that occurs, as scikit-learn defines it.

    Computed here because the bootstrap asks for it thousands of times.
    """
    correct = np.bincount(labels[predicted == labels], minlength=classes)
    counted = np.bincount(labels, minlength=classes) + np.bincount(predicted, minlength=classes)
    occurs = counted > 0
    return float((2 * correct[occurs] / counted[occurs]).mean())


def expected_calibration_error(logits: np.ndarray, labels: np.ndarray, bins: int = 15) -> float:
    """Return the mean gap between confidence and accuracy over bins of equal width.

    Guo et al., 2017, https://arxiv.org/abs/1706.04599, section 2: the sum over bins of
    ``n_bin / N * |accuracy - confidence|``, the confidence being the largest probability.
    """
    probabilities = softmax_rows(logits.astype(np.float64))
    confidence = probabilities.max(axis=1)  # (N,)
    correct = probabilities.argmax(axis=1) == labels  # (N,)
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)  # (N,)
    gaps = np.bincount(bin_of, weights=correct - confidence, minlength=bins)  # (bins,)
    return float(np.abs(gaps).sum() / len(labels))


def classification_fidelity(student: np.ndarray, teacher: np.ndarray) -> Metrics:
    """Return agreement, mean KL(teacher || student) in nats and the largest logit difference."""
    return {
        "agreement": float((student.argmax(axis=1) == teacher.argmax(axis=1)).mean()),
        "mean_kl": float(kl_per_example(student, teacher).mean()),
        "max_abs_logit_difference": float(np.abs(student - teacher).max()),
    }


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
