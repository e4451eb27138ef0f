"""What a task measures: the half of a task that knows neither torch nor transformers.

One `Task` a kind of task; the stages take theirs from here and don't ask which it is. Its other
half, head and losses, is in models/losses.py.

Shapes: N = examples, C = classes.
"""

import numpy as np
from scipy.special import log_softmax, softmax

from pipeline.tasks.task import Metrics, Task


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
    probabilities = softmax(logits.astype(np.float64), axis=1)
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
    log_student = log_softmax(student.astype(np.float64), axis=1)
    log_teacher = log_softmax(teacher.astype(np.float64), axis=1)
    divergence: np.ndarray = (np.exp(log_teacher) * (log_teacher - log_student)).sum(axis=1)
    return divergence


def _predictions(logits: np.ndarray) -> np.ndarray:
    return np.asarray(logits.argmax(axis=1))


def _probabilities(logits: np.ndarray) -> np.ndarray:
    return np.asarray(softmax(logits, axis=1))


SINGLE_LABEL = Task(
    main_metric="accuracy",
    metrics=classification_metrics,
    fidelity=classification_fidelity,
    predictions=_predictions,
    scores=_probabilities,
)
"""One of C classes for a text or a pair of texts."""
