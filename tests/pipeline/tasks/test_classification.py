import math

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import accuracy_score, f1_score
from support.gate_facts import evaluation

from pipeline.config import DataConfig, GateConfig
from pipeline.tasks.class_metrics import (
    CLASS_FIDELITY,
    CLASS_QUALITY,
    kl_per_example,
)
from pipeline.tasks.classification import CLASSIFICATION

DATA = DataConfig(train="texts.csv", labels=("negative", "positive"))


def logits_of(*probabilities):
    return np.log(np.array(probabilities))


def one_hot(predicted, classes):
    return np.eye(classes)[predicted]


def calibration_error(logits, labels):
    return CLASS_QUALITY(logits, labels)["calibration_error"]


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

    found = CLASS_QUALITY(one_hot(predicted, classes), labels)

    assert found["accuracy"] == pytest.approx(accuracy_score(labels, predicted))
    assert found["macro_f1"] == pytest.approx(f1_score(labels, predicted, average="macro"))


def test_perfect_predictions():
    labels = np.array([0, 1, 2, 1])

    found = CLASS_QUALITY(100 * one_hot(labels, 3), labels)

    assert found["accuracy"] == found["macro_f1"] == 1.0
    assert found["calibration_error"] == pytest.approx(0.0, abs=1e-12)


def test_calibration_error_by_hand():
    # Three in the bin [9/15, 10/15): confidence 0.62 each, one of them right: gap 3 * 0.62 - 1.
    # One in the bin [13/15, 14/15): confidence 0.9, right: gap 0.1.
    logits = logits_of([0.62, 0.38], [0.62, 0.38], [0.38, 0.62], [0.1, 0.9])
    labels = np.array([0, 1, 0, 1])

    expected = (3 * 0.62 - 1 + 0.1) / 4
    assert calibration_error(logits, labels) == pytest.approx(expected)


def test_gaps_within_a_bin_cancel_and_between_bins_do_not():
    same_bin = logits_of([0.61, 0.39], [0.65, 0.35])  # of [9/15, 10/15)
    two_bins = logits_of([0.6, 0.4], [0.8, 0.2])
    labels = np.array([1, 0])  # gaps of 0.61 - 0 and 0.65 - 1; of 0.6 - 0 and 0.8 - 1

    assert calibration_error(same_bin, labels) == pytest.approx((0.61 - 0.35) / 2)
    assert calibration_error(two_bins, labels) == pytest.approx((0.6 + 0.2) / 2)


def test_sure_and_wrong_is_wholly_miscalibrated():
    logits = np.array([[1000.0, 0.0]])  # a confidence of exactly 1 falls into the last bin

    assert calibration_error(logits, np.array([1])) == 1.0


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

    found = CLASS_FIDELITY(student, teacher)

    first = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    second = 0.6 * math.log(4)
    assert found["agreement"] == 0.5
    assert found["mean_kl"] == pytest.approx((first + second) / 2)
    assert found["max_abs_logit_difference"] == pytest.approx(math.log(4))


def test_names_of_the_task_are_among_its_values():
    logits = np.eye(2)

    assert CLASSIFICATION.main_metric in CLASSIFICATION.metrics(logits, np.array([0, 1]))
    fidelity = CLASSIFICATION.fidelity(logits, logits)
    assert {CLASSIFICATION.agreement, CLASSIFICATION.distance} <= set(fidelity)


def test_answers_are_probabilities_by_label():
    logits = logits_of([0.2, 0.3, 0.5], [1.0, 1.0, 2.0])

    first, second = CLASSIFICATION.answers(logits, ("a", "b", "c"))

    assert first == {
        "label": "c",
        "score": pytest.approx(0.5),
        "scores": pytest.approx({"a": 0.2, "b": 0.3, "c": 0.5}),
    }
    assert second["scores"] == pytest.approx({"a": 0.25, "b": 0.25, "c": 0.5})


def test_answers_fit_their_schema():
    (answer,) = CLASSIFICATION.answers(logits_of([0.2, 0.8]), ("a", "b"))

    assert CLASSIFICATION.answer_type(**answer).model_dump() == answer


def test_errors_are_1_where_the_class_is_wrong():
    found = CLASSIFICATION.errors(one_hot([0, 1, 2], 3), np.array([0, 2, 2]))

    assert found.tolist() == [0.0, 1.0, 0.0]


def test_outputs_are_named_by_the_labels():
    assert CLASSIFICATION.labels.names(DATA) == ("negative", "positive")


def test_one_class_alone_teaches_nothing():
    names = ("negative", "positive")

    assert CLASSIFICATION.labels.check([1, 1], names).startswith(
        "holds one class only ('positive')"
    )
    assert CLASSIFICATION.labels.check([1, 0], names) is None


def test_texts_are_drawn_by_class():
    assert CLASSIFICATION.labels.strata([1, 0, 1]) == [1, 0, 1]


def test_labels_are_counted_by_split_and_name():
    splits = {"train": np.array([1, 0, 1]), "test": np.array([1])}

    found = CLASSIFICATION.labels.counts(splits, ("negative", "positive"))

    assert found == {
        "train": {"negative": 1, "positive": 2},
        "test": {"negative": 0, "positive": 1},
    }


def test_label_and_outputs_are_packed_and_unpacked():
    packed = CLASSIFICATION.pack(np.array([1, 0]), np.array([[0.5, 1.5], [2.0, -1.0]]))
    labels, outputs = CLASSIFICATION.unpack(np.array(packed))

    assert labels.tolist() == [1.0, 0.0]
    assert outputs.tolist() == [[0.5, 1.5], [2.0, -1.0]]


def test_members_of_a_class_are_those_that_it_is_the_answer_of():
    teacher, student = one_hot([0, 0, 1, 1], 2), one_hot([0, 1, 1, 1], 2)

    found = CLASSIFICATION.members(teacher, student, np.array([0, 0, 1, 1]), ("no", "yes"))

    assert found.names == ("no", "yes")
    assert found.teacher.T.tolist() == found.labels.T.tolist() == [[1, 1, 0, 0], [0, 0, 1, 1]]
    assert found.student.T.tolist() == [[1, 0, 0, 0], [0, 1, 1, 1]]


def test_equal_student_passes_every_check():
    config = GateConfig(min_quality=None)

    checks = CLASSIFICATION.checks(evaluation(), config)

    assert len(checks) == 5
    assert all(each.passed for each in checks)
    assert CLASSIFICATION.warnings(evaluation(), config) == ()


@pytest.mark.parametrize(("least", "passed"), [(0.9, True), (0.90001, False)])
def test_least_quality_just_met_and_just_missed(least, passed):
    found = CLASSIFICATION.checks(evaluation(), GateConfig(min_quality=least))[-1]

    assert (found.passed, found.value, found.limit) == (passed, 0.9, least)


def test_shifts_of_the_labels_mix_and_of_the_confidence():
    old, new = np.array([0] * 60 + [1] * 40), np.array([0] * 30 + [1] * 70)
    sure, unsure = 10.0 * one_hot(old, 2), 0.1 * one_hot(new, 2)

    mix, confidence = CLASSIFICATION.shifts(old, new, sure, unsure)

    assert (mix.name, mix.before, mix.now) == ("part of the commonest label", 0.6, 0.3)
    assert mix.p_value == pytest.approx(stats.chi2_contingency([[60, 40], [30, 70]]).pvalue)
    assert confidence.name == "confidence of the champion"
    assert confidence.before == pytest.approx(1 / (1 + math.exp(-10)))
    assert confidence.now == pytest.approx(1 / (1 + math.exp(-0.1)))
    assert confidence.p_value < 1e-6


def test_one_class_in_old_and_new_texts_has_not_shifted():
    labels, logits = np.zeros(5, dtype=np.int64), one_hot([0] * 5, 2)

    mix, confidence = CLASSIFICATION.shifts(labels, labels, logits, logits)

    assert (mix.p_value, confidence.p_value) == (1.0, 1.0)
