import math

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from pipeline.tasks.classification import (
    SINGLE_LABEL,
    classification_fidelity,
    classification_metrics,
    expected_calibration_error,
    kl_per_example,
)


def logits_of(*probabilities):
    return np.log(np.array(probabilities))


def one_hot(predicted, classes):
    return np.eye(classes)[predicted]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("classes", "present", "guessed"),
    [(2, 2, 2), (5, 5, 5), (5, 3, 4), (5, 4, 2), (4, 1, 1)],
    ids=["binary", "five", "absent labels", "never guessed", "one class"],
)
def test_accuracy_and_macro_f1_are_scikit_learns(classes, present, guessed, seed):
    generator = np.random.default_rng(seed)
    labels = generator.integers(present, size=40)
    predicted = generator.integers(guessed, size=40)

    found = classification_metrics(one_hot(predicted, classes), labels)

    assert found["accuracy"] == pytest.approx(accuracy_score(labels, predicted))
    assert found["macro_f1"] == pytest.approx(f1_score(labels, predicted, average="macro"))


def test_perfect_predictions():
    labels = np.array([0, 1, 2, 1])

    found = classification_metrics(100 * one_hot(labels, 3), labels)

    assert found["accuracy"] == found["macro_f1"] == 1.0
    assert found["calibration_error"] == pytest.approx(0.0, abs=1e-12)


def test_calibration_error_by_hand():
    # Three in the bin [9/15, 10/15): confidence 0.62 each, one of them right: gap 3 * 0.62 - 1.
    # One in the bin [13/15, 14/15): confidence 0.9, right: gap 0.1.
    logits = logits_of([0.62, 0.38], [0.62, 0.38], [0.38, 0.62], [0.1, 0.9])
    labels = np.array([0, 1, 0, 1])

    expected = (3 * 0.62 - 1 + 0.1) / 4
    assert expected_calibration_error(logits, labels) == pytest.approx(expected)


def test_gaps_within_a_bin_cancel_and_between_bins_do_not():
    logits = logits_of([0.6, 0.4], [0.8, 0.2])
    labels = np.array([1, 0])  # gaps of 0.6 - 0 and 0.8 - 1

    assert expected_calibration_error(logits, labels, bins=1) == pytest.approx(0.4 / 2)
    assert expected_calibration_error(logits, labels, bins=15) == pytest.approx(0.8 / 2)


def test_sure_and_wrong_is_wholly_miscalibrated():
    logits = np.array([[1000.0, 0.0]])  # a confidence of exactly 1 falls into the last bin

    assert expected_calibration_error(logits, np.array([1])) == 1.0


def test_kl_by_hand():
    # Teacher (3/4, 1/4), student (1/2, 1/2): 3/4 ln(3/2) + 1/4 ln(1/2).
    student, teacher = logits_of([0.5, 0.5]), logits_of([0.75, 0.25])

    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert kl_per_example(student, teacher) == pytest.approx([expected])


def test_kl_is_zero_for_equal_distributions():
    logits = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)

    assert kl_per_example(logits + 5, logits) == pytest.approx(np.zeros(4), abs=1e-6)


def test_kl_of_extreme_logits_is_finite():
    student, teacher = np.array([[800.0, 0.0]]), np.array([[0.0, 800.0]])

    assert kl_per_example(student, teacher) == pytest.approx([800.0])


def test_fidelity_by_hand():
    student = logits_of([0.5, 0.5], [0.2, 0.8])
    teacher = logits_of([0.75, 0.25], [0.8, 0.2])

    found = classification_fidelity(student, teacher)

    first = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    second = 0.6 * math.log(4)
    assert found["agreement"] == 0.5
    assert found["mean_kl"] == pytest.approx((first + second) / 2)
    assert found["max_abs_logit_difference"] == pytest.approx(math.log(4))


def test_scores_are_probabilities():
    scores = SINGLE_LABEL.scores(logits_of([0.2, 0.3, 0.5], [1.0, 1.0, 2.0]))

    assert scores == pytest.approx(np.array([[0.2, 0.3, 0.5], [0.25, 0.25, 0.5]]))


def test_main_metric_is_among_the_metrics():
    assert SINGLE_LABEL.main_metric in SINGLE_LABEL.metrics(np.eye(2), np.array([0, 1]))
