import math

import numpy as np
import pytest
from scipy import stats

from pipeline.decisions.quality import worst_class
from pipeline.facts.quality import ClassQuality
from pipeline.statistics.class_quality import measure_classes, paired_difference

Z = stats.norm.ppf(0.975)


def measure(teacher, student, labels, names="abc"):
    classes = np.arange(len(names))
    found = (np.array(answers)[:, None] == classes for answers in (teacher, student, labels))
    return measure_classes(*found, names, confidence=0.95)


def quality(label, lost, interval, texts=100):
    return ClassQuality(
        label=label,
        texts=texts,
        teacher_recall=1.0,
        student_recall=1.0 - lost,
        teacher_f1=1.0,
        student_f1=1.0,
        recall_lost=lost,
        interval=interval,
    )


@pytest.mark.parametrize("texts", [5, 10, 100])
def test_interval_of_pairs_that_all_differ_has_its_closed_form(texts):
    # With b = n and c = 0 the score is sqrt(n (1 - d) / (1 + d)); it is z at (n - z^2) / (n + z^2).
    low, high = paired_difference(texts, 0, texts, 0.95)

    assert low == pytest.approx((texts - Z**2) / (texts + Z**2))
    assert high == 1.0


def test_interval_of_many_pairs_is_the_normal_one():
    low, high = paired_difference(600, 500, 10_000, 0.95)

    half = Z * math.sqrt((0.06 + 0.05 - 0.01**2) / 10_000)
    assert (low, high) == pytest.approx((0.01 - half, 0.01 + half), abs=5e-5)


def test_interval_turns_with_the_sides():
    low, high = paired_difference(9, 3, 30, 0.95)

    assert paired_difference(3, 9, 30, 0.95) == pytest.approx((-high, -low))
    assert low < 0.2 < high


def test_pairs_that_never_differ_still_leave_room():
    low, high = paired_difference(0, 0, 20, 0.95)

    assert low == pytest.approx(-high)
    assert high == pytest.approx(Z**2 / (20 + Z**2))  # Wilson's bound of 0 of 20


@pytest.mark.parametrize("counts", [(0, 0, 1), (1, 0, 1), (0, 1, 1), (7, 7, 14)])
def test_every_count_has_an_interval_around_what_was_found(counts):
    first, second, texts = counts
    low, high = paired_difference(first, second, texts, 0.999)

    assert -1 <= low <= (first - second) / texts <= high <= 1


def test_true_loss_is_inside_as_often_as_promised():
    draws = np.random.default_rng(0).multinomial(40, [0.15, 0.05, 0.8], size=2000)
    inside = [
        low <= 0.1 <= high
        for low, high in (
            paired_difference(int(lost), int(won), 40, 0.95) for lost, won, _ in draws
        )
    ]

    assert np.mean(inside) > 0.93


def test_recall_and_f1_are_by_class():
    labels = [0, 0, 0, 0, 1, 1, 1, 1]

    first, second = measure([0, 0, 0, 1, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1, 1, 0], labels)

    assert (first.label, first.texts, second.label) == ("a", 4, "b")  # of c there is no text
    assert (first.teacher_recall, first.student_recall) == (0.75, 0.5)
    assert first.recall_lost == second.recall_lost == 0.25
    assert first.teacher_f1 == pytest.approx(2 * 3 / (4 + 3))
    assert second.student_f1 == pytest.approx(2 * 3 / (4 + 5))


def test_classes_share_the_level_of_error():
    labels = [0] * 10 + [1] * 10

    first, _ = measure(labels, [1] * 4 + [0] * 6 + [1] * 10, labels)

    assert first.interval == pytest.approx(paired_difference(4, 0, 10, 0.975))


def test_class_of_five_texts_is_not_lost_for_sure_whatever_happens_to_it():
    labels = [0] * 5 + [1] * 100

    first, _ = measure(labels, [1] * 105, labels)

    assert first.recall_lost == 1.0
    assert first.interval[0] < 0.05


def test_worst_class_is_the_one_that_surely_lost_most():
    unlucky = quality("rare", 0.6, (-0.1, 0.9), texts=5)
    sound = quality("sound", 0.01, (-0.02, 0.04))
    lost = quality("lost", 0.2, (0.1, 0.3))

    assert worst_class([sound, unlucky, lost]) is lost
