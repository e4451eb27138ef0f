import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score

from models.losses import bernoulli_kl
from pipeline.tasks.set_metrics import (
    SET_FIDELITY,
    SET_QUALITY,
    attach_thresholds,
    choose_thresholds,
    chosen_labels,
    sigmoid,
    wrong_parts,
)

RNG = np.random.default_rng(0)
LABELS = (RNG.random((200, 4)) < [0.5, 0.2, 0.05, 0.3]).astype(np.int64)
LOGITS = (2 * LABELS - 1 + 1.5 * RNG.standard_normal(LABELS.shape)).astype(np.float32)
THRESHOLDS = np.array([0.4, 0.6, 0.3, 0.5])
READINGS = attach_thresholds(LOGITS, THRESHOLDS)


def test_label_applies_where_its_probability_reaches_its_threshold():
    readings = attach_thresholds(np.array([[0.0, 0.0, 0.0]]), np.array([0.4, 0.5, 0.6]))

    assert chosen_labels(readings).tolist() == [[True, True, False]]
    assert chosen_labels(np.array([[0.0, -0.1, 0.1]])).tolist() == [[True, False, True]]


def test_metrics_are_those_of_scikit_learn():
    predicted = sigmoid(LOGITS) >= THRESHOLDS

    found = SET_QUALITY(READINGS, LABELS)

    assert found["micro_f1"] == pytest.approx(f1_score(LABELS, predicted, average="micro"))
    assert found["macro_f1"] == pytest.approx(f1_score(LABELS, predicted, average="macro"))
    precision = average_precision_score(LABELS, LOGITS, average="macro")
    assert found["mean_average_precision"] == pytest.approx(precision)


def test_average_precision_takes_equal_probabilities_together():
    tied = np.round(LOGITS)

    found = SET_QUALITY(tied, LABELS)["mean_average_precision"]

    assert found == pytest.approx(average_precision_score(LABELS, sigmoid(tied), average="macro"))


def test_metrics_of_a_resample_are_those_of_its_texts():
    rows = np.random.default_rng(1).integers(len(LABELS), size=150)
    parts = SET_QUALITY.contributions(READINGS, LABELS)

    found = SET_QUALITY.summarise({name: part[rows] for name, part in parts.items()})

    assert found == pytest.approx(SET_QUALITY(READINGS[rows], LABELS[rows]))


def test_metrics_by_hand():
    # Of the labels of two texts: one found, one missed, one found that does not apply.
    logits = np.array([[2.0, -2.0], [2.0, -2.0]])
    labels = np.array([[1, 1], [0, 0]])

    found = SET_QUALITY(logits, labels)

    assert found["micro_f1"] == pytest.approx(2 * 1 / (2 + 2))
    assert found["macro_f1"] == pytest.approx((2 / 3 + 0) / 2)
    # Both texts have one probability per label: precision is one half at recall 1.
    assert found["mean_average_precision"] == pytest.approx(0.5)
    high, low = sigmoid(np.array([2.0, -2.0]))
    assert found["calibration_error"] == pytest.approx((abs(1 - 2 * high) + abs(1 - 2 * low)) / 4)


def test_label_that_never_occurs_counts_in_no_mean():
    labels = np.concatenate([LABELS, np.zeros((200, 1), np.int64)], axis=1)
    logits = np.concatenate([LOGITS, np.full((200, 1), -9.0)], axis=1)

    found, expected = SET_QUALITY(logits, labels), SET_QUALITY(LOGITS, LABELS)

    for name in ("micro_f1", "macro_f1", "mean_average_precision"):
        assert found[name] == pytest.approx(expected[name])


def test_split_without_any_label_has_metrics():
    found = SET_QUALITY(np.full((3, 2), -1.0), np.zeros((3, 2), np.int64))

    assert (found["micro_f1"], found["macro_f1"], found["mean_average_precision"]) == (0, 0, 0)


def test_chosen_thresholds_give_the_highest_f1():
    thresholds = choose_thresholds(LOGITS, LABELS)

    for index, threshold in enumerate(thresholds):
        probabilities, wanted = sigmoid(LOGITS[:, index]), LABELS[:, index]
        best = max(f1_score(wanted, probabilities >= each) for each in probabilities)
        assert f1_score(wanted, probabilities >= threshold) == pytest.approx(best, abs=2e-3)


def test_chosen_threshold_of_separable_labels_is_nearest_to_one_half():
    logits = np.log([[0.8 / 0.2], [0.6 / 0.4], [0.3 / 0.7], [0.1 / 0.9]])

    assert choose_thresholds(logits, np.array([[1], [1], [0], [0]])) == pytest.approx([0.45])


def test_threshold_of_a_label_without_texts_is_one_half():
    assert choose_thresholds(np.zeros((3, 1)), np.zeros((3, 1), np.int64)).tolist() == [0.5]


def test_closeness_is_none_of_a_model_to_itself():
    found = SET_FIDELITY(READINGS, READINGS)

    assert found == {
        "set_agreement": 1.0,
        "label_agreement": 1.0,
        "mean_kl": 0.0,
        "max_abs_logit_difference": 0.0,
    }


def test_agreement_of_labels_and_of_whole_sets():
    student, teacher = np.array([[1.0, 1.0], [1.0, -1.0]]), np.array([[1.0, -2.0], [2.0, -1.0]])

    found = SET_FIDELITY(student, teacher)

    assert (found["set_agreement"], found["label_agreement"]) == (0.5, 0.75)
    assert found["max_abs_logit_difference"] == 3.0


def test_divergence_is_what_distillation_lowers():
    teacher = LOGITS + RNG.standard_normal(LOGITS.shape).astype(np.float32)

    found = SET_FIDELITY(READINGS, attach_thresholds(teacher, THRESHOLDS))["mean_kl"]

    loss = bernoulli_kl(torch.from_numpy(LOGITS), torch.from_numpy(teacher), 1.0)
    assert found == pytest.approx(loss.mean().item(), rel=1e-5)


def test_error_of_a_text_is_the_part_of_wrong_labels():
    assert wrong_parts(
        np.array([[1.0, 1.0], [1.0, -1.0]]), np.array([[1, 0], [1, 0]])
    ).tolist() == [
        0.5,
        0.0,
    ]


def test_probabilities_of_large_logits_are_finite():
    assert sigmoid(np.array([-1e4, 0.0, 1e4])).tolist() == [0.0, 0.5, 1.0]
