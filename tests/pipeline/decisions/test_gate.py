import math

import pytest
from support.gate_facts import class_quality, decision, evaluation, find, latency

from pipeline.config import GateConfig
from pipeline.decisions.check import count_results


def test_student_within_every_limit_passes():
    found = decision()

    assert found.passed
    assert found.reasons == ()
    assert [check.passed for check in found.checks] == [True] * 8
    assert found.warnings == ()


def test_every_reason_is_given_with_number_and_limit():
    lost = class_quality(0.3, (0.2, 0.4))
    evaluated = evaluation(change=-0.04, agreement=0.9, calibration=0.05, classes=(lost,))
    found = decision(evaluated, latency(1.2), size_bytes=120_000_000)

    drop, agreement, *others = found.reasons
    assert not found.passed
    assert "accuracy is -4.00 points from" in drop
    assert "gate.max_metric_drop accepts a loss of 1.00" in drop
    assert "agrees with the teacher on 90.00%" in agreement
    assert "gate.min_agreement requires 95.00%" in agreement
    class_lost, calibration, size, slow = others
    assert "In the class negative (400 test texts), the teacher finds 90.0%" in class_lost
    assert "30.00 points lost (20.00 to 40.00" in class_lost
    assert "calibration error is +0.0500 from the teacher's (+0.0400 to +0.0600)" in calibration
    assert "has 120.0 MB, 1.200 times the teacher's 100.0 MB" in size
    assert "at least 1.200 times" in slow


@pytest.mark.parametrize(
    ("failing", "name"),
    [
        (decision(evaluation(change=-0.5)), "accuracy lost"),
        (decision(evaluation(agreement=0.5)), "agreement"),
        (decision(None, latency(1.5)), "latency"),
        (decision(size_bytes=105_000_001), "size"),
        (decision(evaluation(calibration=0.0301)), "calibration"),
        (decision(evaluation(gain=0.0099)), "gained against the head alone"),
        (decision(evaluation(classes=(class_quality(0.2, (0.1001, 0.3)),))), "worst class"),
    ],
)
def test_one_failed_check_is_enough(failing, name):
    (check,) = [check for check in failing.checks if not check.passed]

    assert not failing.passed
    assert name in check.name
    assert failing.reasons == (check.reason,)


def test_limits_are_the_configs():
    strict = GateConfig(
        max_metric_drop=0.0,
        min_agreement=1.0,
        max_class_drop=0.02,
        max_calibration_growth=0.0,
        min_gain=0.1,
        max_size_ratio=0.5,
        max_size_mb=10,
        max_latency_ratio=0.5,
    )

    found = decision(evaluation(change=-0.001, agreement=0.999), config=strict)

    assert [(check.bound, check.limit) for check in found.checks] == [
        ("at most", 0.0),
        ("at least", 1.0),
        ("at most", 0.02),
        ("at most", 0.0),
        ("at least", 0.1),
        ("at most", 0.5),
        ("at most", 10),
        ("at most", 0.5),
        ("at least", 0.75),
    ]
    assert len(found.reasons) == 5  # class and calibration are not sure


@pytest.mark.parametrize(
    "found",
    [
        decision(evaluation(change=math.nan)),
        decision(evaluation(agreement=math.nan)),
        decision(evaluation(calibration=math.nan)),
        decision(evaluation(classes=(class_quality(math.nan, (math.nan, math.nan)),))),
        decision(None, latency(math.nan)),
    ],
)
def test_number_that_is_not_one_is_refused(found):
    assert not found.passed


def test_limits_that_compare_with_no_other_model_are_held_only_where_they_are_asked_for():
    names = [check.name for check in decision().checks]

    assert not any("of the student" in name or "time of a text" in name for name in names)


WIDE = {
    "gate.max_metric_drop accepts any value": GateConfig(max_metric_drop=1),
    "gate.min_agreement accepts any value": GateConfig(min_agreement=0),
    "gate.max_class_drop accepts any value": GateConfig(max_class_drop=1),
    "gate.max_calibration_growth accepts any value": GateConfig(max_calibration_growth=1),
    "gate.min_gain accepts any value": GateConfig(min_gain=-1),
    "gate.overhead = any only shows the verdict": GateConfig(overhead="any"),
}


@pytest.mark.parametrize("why", WIDE)
def test_check_that_nothing_can_fail_is_not_shown_as_passed(why):
    found = decision(config=WIDE[why])

    (check,) = [check for check in found.checks if check.not_in_force]
    assert check.result == f"not in force: {why}"
    assert f"7 of 8 checks passed, 1 not in force ({check.name}: {why})" == count_results(
        found.checks
    )


def test_verdict_that_is_only_shown_is_not_passed_at_a_slow_student():
    found = decision(student=1.09, config=GateConfig(overhead="any"))

    check = find(found, "cost that is gone")
    assert found.passed
    assert check.value < check.limit
    assert check.result.startswith("not in force")


def test_verdict_that_noise_left_open_is_not_shown_as_plainly_passed():
    found = decision(noise=0.05)

    assert find(found, "cost that is gone").result == "passed, uncertain"
    assert "1 passed, uncertain" in count_results(found.checks)
