import math

import pytest
from support.gate_facts import CONFIG, decision, find, latency, rung

from pipeline.config import GateConfig


@pytest.mark.parametrize(("ci_low", "passed"), [(1.05, True), (1.0501, False), (0.5, True)])
def test_latency_just_met_and_just_missed(ci_low, passed):
    found = decision(None, latency(ci_low))

    assert found.passed is passed
    assert find(found, "latency").passed is passed


def test_noisy_latency_above_the_limit_is_no_evidence():
    entry = latency(1.04)

    found = decision(None, entry)

    assert entry.ratio_to_plain > CONFIG.max_latency_ratio
    assert found.passed


def test_slowest_cell_of_the_student_decides():
    found = decision(
        None,
        latency(0.9),
        latency(1.3, batch=8, length=64),
        latency(1.1, batch=1, length=64),
        latency(2.0, arm="teacher"),
    )

    (reason,) = found.reasons
    assert "At batch 8, 64 tokens" in reason
    assert "at least 1.300 times" in reason
    assert "gate.max_latency_ratio accepts 1.050" in reason


def test_slow_teacher_does_not_matter():
    assert decision(None, latency(), latency(2.0, arm="teacher")).passed


def test_the_size_of_the_file_that_ships_is_held_in_megabytes():
    allowed, refused = (
        decision(config=GateConfig(max_size_mb=limit), size_bytes=24_200_000)
        for limit in (24.2, 24.1)
    )

    assert allowed.passed
    assert refused.reasons == ("The student's file has 24.2 MB; gate.max_size_mb accepts 24.1.",)


def overhead_decision(rule, **measured):
    return decision(config=GateConfig(overhead=rule), **measured)


GONE, REMAINS, NOISE = {"student": 1.0}, {"student": 1.07}, {"noise": 0.05}


@pytest.mark.parametrize(
    ("rule", "measured", "passed"),
    [
        ("gone", GONE, True),
        ("gone", NOISE, False),
        ("gone", REMAINS, False),
        ("not_refuted", GONE, True),
        ("not_refuted", NOISE, True),
        ("not_refuted", REMAINS, False),
        ("any", REMAINS, True),
    ],
)
def test_verdict_on_the_overhead_is_held_against_the_rule(rule, measured, passed):
    assert overhead_decision(rule, **measured).passed is passed


def test_remaining_overhead_is_a_reason_with_its_numbers():
    (reason,) = overhead_decision("not_refuted", **REMAINS).reasons

    assert reason.startswith("The benchmark's verdict: overhead remains. batch 1, 16 tokens: ")
    assert "+7.0%" in reason


def test_noise_is_a_warning_and_no_reason():
    found = overhead_decision("not_refuted", **NOISE)

    assert found.reasons == ()
    assert "too noisy" in found.warnings[0]


def test_proven_removal_warns_of_nothing():
    assert overhead_decision("gone", **GONE).warnings == ()


@pytest.mark.parametrize(
    ("low", "passed"), [(1.0, True), (2.5, True), (2.51, False), (math.nan, False)]
)
def test_latency_in_ms_refuses_what_is_surely_slower(low, passed):
    rungs = (rung("student", 9, 11), rung("student int8", low, 4.0))

    found = decision(config=GateConfig(max_latency_ms=2.5), ladder=rungs)

    check = find(found, "time of a text")
    assert check.passed is passed
    assert check.shown_limit.endswith("2.50 ms")
    assert "significantly more than 2.5" in check.reason
