import dataclasses
import math

import pytest
from support.gate_facts import (
    class_quality,
    decision,
    evaluation,
    evaluation_of_numbers,
    find,
    measured,
)

from pipeline.config import GateConfig
from pipeline.decisions.quality import against_champion, quality_lost, worst_class, worst_first
from pipeline.facts.paired import Paired
from pipeline.tasks.classification import CLASSIFICATION
from pipeline.tasks.regression import REGRESSION


@pytest.mark.parametrize(
    ("change", "passed"),
    [
        (-0.01, True),
        (0.892 - 0.9, True),  # 714 of 800 against 720
        (0.89 - 0.9, True),  # a hair above 0.01 in floating point
        (-0.01 - 1 / 800, False),
        (-0.010001, False),
        (0.05, True),
    ],
)
def test_accuracy_drop_just_met_and_just_missed(change, passed):
    found = decision(evaluation(change=change))

    assert found.passed is passed
    assert found.checks[0].passed is passed
    assert found.checks[0].value == pytest.approx(-change)


@pytest.mark.parametrize(
    ("agreement", "passed"), [(0.95, True), (760 / 800, True), (759 / 800, False), (0.0, False)]
)
def test_agreement_just_met_and_just_missed(agreement, passed):
    found = decision(evaluation(agreement=agreement))

    assert found.passed is passed
    assert found.checks[1].passed is passed


def test_loss_of_a_class_with_few_texts_warns_and_does_not_refuse():
    unlucky = class_quality(0.6, (-0.1, 0.9), label="rare", texts=5)

    found = decision(evaluation(classes=(unlucky,)))

    assert found.passed
    (warning,) = found.warnings
    assert "In the class rare (5 test texts)" in warning
    assert find(found, "worst class").result == "passed, uncertain"


def test_every_class_that_may_have_lost_much_is_named_in_one_warning():
    surest = class_quality(0.02, (0.01, 0.03), label="surest")
    rare = [class_quality(lost, (-0.2, 0.9), label=f"{lost}", texts=5) for lost in (0.2, 0.6, 0.4)]

    found = decision(evaluation(classes=(*rare, surest)))

    assert found.passed
    (warning,) = found.warnings
    assert "more than 10.00 points of recall, on too few texts for significance" in warning
    assert "0.6 (60 points on 5), 0.4 (40 points on 5), 0.2 (20 points on 5)." in warning


def test_warning_of_many_classes_names_the_largest_losses():
    rare = [class_quality(n / 10, (-0.2, 0.9), label=f"c{n}", texts=5) for n in range(1, 10)]
    surest = class_quality(0.0, (0.0, 0.0))

    (warning,) = decision(evaluation(classes=(*rare, surest))).warnings

    assert "c9 (90 points on 5), c8" in warning
    assert "c5 (50 points on 5) and 3 more." in warning  # c1 lost just what is accepted


def test_calibration_that_is_only_probably_worse_warns():
    found = decision(evaluation(calibration=0.025))

    assert found.passed
    assert "calibration error is +0.0250" in found.warnings[0]


@pytest.mark.parametrize(("change", "passed"), [(-0.01, True), (-0.010001, False)])
def test_correlation_lost_just_met_and_just_missed(change, passed):
    found = decision(evaluation_of_numbers(change=change), task=REGRESSION)

    assert found.passed is passed
    assert find(found, "pearson lost").value == pytest.approx(-change)


@pytest.mark.parametrize(("correlation", "passed"), [(0.95, True), (0.9499, False)])
def test_correlation_with_the_teacher_just_met_and_just_missed(correlation, passed):
    found = decision(evaluation_of_numbers(correlation=correlation), task=REGRESSION)

    assert found.passed is passed
    assert find(found, "teacher correlation").passed is passed


def test_any_metric_can_be_held_against_the_limit():
    check = quality_lost(evaluation(change=0.0), GateConfig(), "macro_f1")

    assert not check.passed
    assert "macro f1 is -50.00 points from" in check.reason


def paired(change, half=0.01):
    return Paired(
        texts=800,
        baseline={"accuracy": 0.9},
        candidate={"accuracy": 0.9 + change},
        change=measured(half, accuracy=change),
        confidence=0.95,
        baseline_better=30,
        candidate_better=20,
        p_value=0.2,
    )


@pytest.mark.parametrize(
    ("evidence", "change", "passed"),
    [
        ("not_refuted", -0.011, True),
        ("not_refuted", -0.021, False),
        ("proven", 0.0, True),
        ("proven", -0.001, False),
    ],
)
def test_champion_is_held_by_the_whole_interval(evidence, change, passed):
    check = against_champion(
        paired(change), metric="accuracy", max_loss=0.01, setting="limit", evidence=evidence
    )

    assert check.passed is passed
    assert check.value == pytest.approx(-change)


def test_reason_against_the_champion_has_every_number():
    check = against_champion(
        paired(-0.05), metric="accuracy", max_loss=0.01, setting="limit", evidence="not_refuted"
    )

    assert "-5.00 points from the champion's (-6.00 to -4.00, 95%) on 800 texts" in check.reason
    assert "One of the two is better on 50 of them (sign test p = 0.2). limit:" in check.reason


@pytest.mark.parametrize(
    ("change", "passed"), [(0.0, True), (-0.0001, False), (0.1, True), (math.nan, False)]
)
def test_least_quality_just_met_and_just_missed(change, passed):
    config = GateConfig(min_quality=0.9, max_metric_drop=1)

    check = find(decision(evaluation(change=change), config=config), "accuracy of the student")

    assert check.passed is passed
    assert "gate.min_quality requires 90.00%" in check.reason


def test_class_that_surely_lost_most_is_the_first():
    rare = class_quality(0.4, (-0.2, 0.9), label="rare")
    sure = class_quality(0.1, (0.05, 0.15), label="sure")
    gained = class_quality(-0.1, (-0.3, 0.1), label="gained")

    found = worst_first((gained, rare, sure))

    assert [each.label for each in found] == ["sure", "rare", "gained"]
    assert worst_class((gained, rare, sure)) is sure
    assert worst_first(()) == []


@pytest.mark.parametrize(("gain", "passed"), [(0.01, True), (0.0099, False), (-0.1, False)])
@pytest.mark.parametrize(
    ("facts", "task", "name"),
    [
        (evaluation, CLASSIFICATION, "accuracy gained against the head alone"),
        (evaluation_of_numbers, REGRESSION, "pearson gained against the mean for every text"),
    ],
)
def test_gain_over_what_knows_little_just_met_and_just_missed(facts, task, name, gain, passed):
    found = decision(facts(gain=gain), task=task)

    assert find(found, name).passed is passed
    assert "gate.min_gain requires 1.00 more" in find(found, name).reason


def test_student_no_better_than_the_head_alone_does_not_pass_silently():
    found = decision(evaluation(gain=0.0), config=GateConfig(min_gain=-1))

    assert found.passed
    (warning,) = found.warnings
    assert "not significantly better than the head alone: its accuracy is +0.00 points" in warning


def test_facts_of_an_earlier_version_have_no_gain_to_hold():
    earlier = dataclasses.replace(evaluation(), gains={})

    assert not any("gained against the head" in each.name for each in decision(earlier).checks)
