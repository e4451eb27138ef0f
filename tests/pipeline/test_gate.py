import math

import numpy as np
import pytest

from pipeline.config import GateConfig
from pipeline.gate import decide
from pipeline.proof.machine import Conditions
from pipeline.proof.records import Structure
from pipeline.proof.verdict import CellLogs, decide_overhead
from pipeline.records import BenchmarkFacts, EvaluateFacts, Latency, Measured

CONFIG = GateConfig(max_accuracy_drop=0.01, min_agreement=0.95, max_latency_ratio=1.05)


def measured(**values):
    return Measured(values=values, intervals={})


def evaluation(*, change=0.0, agreement=1.0):
    return EvaluateFacts(
        texts=800,
        confidence=0.95,
        plain=measured(accuracy=0.7),
        teacher=measured(accuracy=0.9),
        student=measured(accuracy=0.9 + change),
        fidelity=measured(agreement=agreement),
        change=measured(accuracy=change, macro_f1=-0.5),
    )


def latency(ci_low=0.9, *, arm="student", batch=1, length=16):
    return Latency(
        arm=arm,
        batch=batch,
        length=length,
        median_ms=1.0,
        p95_ms=1.0,
        p99_ms=1.0,
        ratio_to_plain=ci_low + 0.1,
        ci_low=ci_low,
        ci_high=ci_low + 0.2,
    )


def benchmark(*entries, student=1.0, noise=1e-4, spread=(-1, 0, 1, 0)):
    """Return facts in which the student takes this multiple of the plain backbone's time."""
    structure = Structure(
        student_is_plain=True, student_is_teacher=False, teacher_is_plain=False, adapter_traces=()
    )
    steps = noise * np.array(spread)
    logs = {"again": 0.0, "teacher": math.log(1.07), "student": math.log(student)}
    cell = CellLogs(name="batch 1, 16 tokens", **{arm: log + steps for arm, log in logs.items()})
    return BenchmarkFacts(
        blocks=8,
        confidence=0.95,
        verdict=decide_overhead(structure, [cell]),
        graphs={},
        latency=entries or (latency(),),
        ladder=(),
        costs={},
        machine={},
        conditions=Conditions(load_before=0, load_after=0, steal=0, busy=0, involuntary_switches=0),
    )


def decision(evaluated=None, *entries, config=CONFIG, main_metric="accuracy"):
    return decide(
        evaluated or evaluation(),
        benchmark(*entries or (latency(),)),
        config,
        main_metric=main_metric,
    )


def test_student_within_every_limit_passes():
    found = decision()

    assert found.passed
    assert found.reasons == ()
    assert [check.passed for check in found.checks] == [True, True, True, True]


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


@pytest.mark.parametrize(("ci_low", "passed"), [(1.05, True), (1.0501, False), (0.5, True)])
def test_latency_just_met_and_just_missed(ci_low, passed):
    found = decision(None, latency(ci_low))

    assert found.passed is passed
    assert found.checks[2].passed is passed


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


def test_every_reason_is_given_with_number_and_limit():
    found = decision(evaluation(change=-0.04, agreement=0.9), latency(1.2))

    drop, agreement, slow = found.reasons
    assert not found.passed
    assert "accuracy is -4.00 points from" in drop
    assert "gate.max_accuracy_drop accepts a loss of 1.00" in drop
    assert "agrees with the teacher on 90.00%" in agreement
    assert "gate.min_agreement asks for 95.00%" in agreement
    assert "at least 1.200 times" in slow


@pytest.mark.parametrize(
    ("failing", "name"),
    [
        (decision(evaluation(change=-0.5)), "accuracy lost"),
        (decision(evaluation(agreement=0.5)), "agreement"),
        (decision(None, latency(1.5)), "latency"),
    ],
)
def test_one_failed_check_is_enough(failing, name):
    (check,) = [check for check in failing.checks if not check.passed]

    assert not failing.passed
    assert name in check.name
    assert failing.reasons == (check.explanation,)


def test_limits_are_the_configs():
    strict = GateConfig(max_accuracy_drop=0.0, min_agreement=1.0, max_latency_ratio=0.5)

    found = decision(evaluation(change=-0.001, agreement=0.999), config=strict)

    assert [(check.bound, check.limit) for check in found.checks] == [
        ("at most", 0.0),
        ("at least", 1.0),
        ("at most", 0.5),
        ("at least", 0.75),
    ]
    assert len(found.reasons) == 3


def test_the_tasks_main_metric_is_held_against_the_limit():
    found = decision(evaluation(change=0.0), main_metric="macro_f1")

    (reason,) = found.reasons
    assert "macro_f1 is -50.00 points from" in reason


@pytest.mark.parametrize(
    "found",
    [
        decision(evaluation(change=math.nan)),
        decision(evaluation(agreement=math.nan)),
        decision(None, latency(math.nan)),
    ],
)
def test_number_that_is_not_one_is_refused(found):
    assert not found.passed


def overhead_decision(rule, **measured):
    config = GateConfig(overhead=rule)
    return decide(evaluation(), benchmark(**measured), config, main_metric="accuracy")


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
