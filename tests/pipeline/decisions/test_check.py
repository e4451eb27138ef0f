import dataclasses
import math

import pytest

from pipeline.decisions.check import Decision, make_check, shown


def check(value=0.02, interval=(0.0, 0.04), bound="at most", limit=0.01, **facts):
    return make_check("loss", value, (bound, limit), interval=interval, reason="Too much.", **facts)


@pytest.mark.parametrize(
    ("evidence", "value", "interval", "passed"),
    [
        ("value", 0.01, (0.0, 0.5), True),
        ("value", 0.011, (0.0, 0.5), False),
        ("not_refuted", 0.3, (0.01, 0.5), True),
        ("not_refuted", 0.3, (0.011, 0.5), False),
        ("proven", 0.005, (0.0, 0.01), True),
        ("proven", 0.005, (0.0, 0.011), False),
        ("not_refuted", 0.3, None, False),
        ("proven", 0.005, None, True),
    ],
)
def test_evidence_says_what_must_be_within_the_limit(evidence, value, interval, passed):
    assert check(value, interval, evidence=evidence).passed is passed


@pytest.mark.parametrize(
    ("evidence", "interval", "passed"),
    [
        ("not_refuted", (0.8, 0.95), True),
        ("not_refuted", (0.8, 0.94), False),
        ("proven", (0.95, 1.0), True),
        ("proven", (0.94, 1.0), False),
    ],
)
def test_lower_bounds_are_held_the_other_way(evidence, interval, passed):
    found = check(0.9, interval, "at least", 0.95, evidence=evidence)

    assert found.passed is passed


@pytest.mark.parametrize("evidence", ["value", "not_refuted", "proven"])
@pytest.mark.parametrize("bound", ["at most", "at least"])
def test_what_is_no_number_does_not_hold(evidence, bound):
    assert not check(math.nan, (math.nan, math.nan), bound, evidence=evidence).passed


def test_difference_of_counts_is_not_over_its_limit_by_rounding():
    assert check(0.9 - 0.89).passed  # 0.010000000000000009


def test_forged_verdict_does_not_hold():
    assert not dataclasses.replace(check(), passed=True).holds()


def test_verdict_over_many_numbers_is_believed():
    found = dataclasses.replace(check(), evidence="verdict", passed=True)

    assert found.holds()
    assert found.shown_limit == "by verdict (at most 1.00%)"


def test_value_beyond_its_limit_that_may_be_luck_is_open():
    assert check(evidence="not_refuted").is_open
    assert check(evidence="not_refuted").result == "passed, uncertain"
    assert not check(0.005, evidence="not_refuted").is_open
    assert not check(0.3, (0.2, 0.4), evidence="not_refuted").is_open


@pytest.mark.parametrize(
    ("unit", "value", "limit"),
    [
        ("part", "2.00% (0.00% to 4.00%)", "at most 1.00%"),
        ("times", "0.020\u00d7 (0.000\u00d7 to 0.040\u00d7)", "at most 0.010\u00d7"),
        ("MB", "0.0 MB (0.0 MB to 0.0 MB)", "at most 0.0 MB"),
    ],
)
def test_numbers_are_shown_in_their_unit(unit, value, limit):
    found = check(unit=unit)

    assert (found.shown_value, found.shown_limit) == (value, limit)


@pytest.mark.parametrize("value", [-0.0, -1e-6, 0.0])
def test_what_rounds_to_zero_has_no_sign(value):
    assert shown(value, "part") == "0.00%"


def test_limit_says_what_counts_as_evidence():
    assert check(evidence="not_refuted").shown_limit == "not significantly beyond 1.00%"
    assert check(evidence="proven").shown_limit == "significantly at most 1.00%"


def test_decision_passes_when_every_check_does():
    good, bad = check(0.0), check(0.5)

    assert Decision(checks=(good, good)).passed
    assert not Decision(checks=(good, bad)).passed
    assert Decision(checks=(good, bad)).reasons == ("Too much.",)
