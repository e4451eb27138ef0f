import numpy as np
import pytest

from pipeline.statistics.paired import compare_paired
from pipeline.tasks.classification import CLASSIFICATION
from pipeline.tasks.regression import REGRESSION

LABELS = np.array([0, 1] * 50)


def logits(right):
    """Return logits that are right on the first so many texts, and wrong on the others."""
    answers = np.where(np.arange(len(LABELS)) < right, LABELS, 1 - LABELS)
    return np.eye(2)[answers]


def compare(baseline, candidate):
    return compare_paired(
        baseline,
        candidate,
        LABELS,
        metrics=CLASSIFICATION.metrics,
        errors=CLASSIFICATION.errors,
        confidence=0.95,
    )


def test_mcnemar_is_the_two_sided_binomial_of_the_texts_that_tell_them_apart():
    found = compare(logits(90), logits(98))

    assert (found.baseline_better, found.candidate_better) == (0, 8)
    assert found.p_value == pytest.approx(2 * 0.5**8)


def test_change_is_candidate_minus_baseline_with_a_paired_interval():
    found = compare(logits(90), logits(98))

    low, high = found.change.intervals["accuracy"]
    assert (found.baseline["accuracy"], found.candidate["accuracy"]) == (0.90, 0.98)
    assert found.change.values["accuracy"] == pytest.approx(0.08)
    # The two accuracies' own standard errors, 0.030 and 0.014, would give +-0.065.
    assert 0.02 < low < 0.08 < high < 0.15


def test_equal_answers_differ_by_nothing_in_any_metric():
    same = np.random.default_rng(0).normal(size=(100, 2))

    found = compare(same, same)

    assert found.p_value == 1.0
    assert set(found.change.values.values()) == {0.0}
    assert set(found.change.intervals.values()) == {(0.0, 0.0)}


def test_smaller_error_is_better_by_however_little():
    labels = np.arange(6.0)
    baseline, candidate = (labels + shift for shift in ([1, 1, 1, 1, 1, 0], [0.9] * 5 + [0.1]))

    found = compare_paired(
        baseline[:, None],
        candidate[:, None],
        labels,
        metrics=REGRESSION.metrics,
        errors=REGRESSION.errors,
        confidence=0.95,
    )

    assert (found.baseline_better, found.candidate_better) == (1, 5)
    assert found.p_value == pytest.approx(2 * (1 + 6) * 0.5**6)  # the sign test's 0 or 1 of 6
