import math

import numpy as np
import pytest

from pipeline.config import GateConfig
from pipeline.gate import decide
from pipeline.proof.machine import Conditions
from pipeline.proof.paired import Paired
from pipeline.proof.records import Estimate, Graph, Rung, Structure
from pipeline.proof.verdict import CellLogs, decide_overhead
from pipeline.quality_checks import against_champion
from pipeline.records import BenchmarkFacts, ClassQuality, EvaluateFacts, Latency, Measured

CONFIG = GateConfig(max_accuracy_drop=0.01, min_agreement=0.95, max_latency_ratio=1.05)


def measured(half=0.01, **values):
    intervals = {name: (value - half, value + half) for name, value in values.items()}
    return Measured(values=values, intervals=intervals)


def class_quality(lost=0.0, interval=(-0.05, 0.05), *, label="negative", texts=400):
    return ClassQuality(
        label=label,
        texts=texts,
        teacher_recall=0.9,
        student_recall=0.9 - lost,
        teacher_f1=0.9,
        student_f1=0.9 - lost,
        recall_lost=lost,
        interval=interval,
    )


def graph(size_bytes):
    return Graph(
        hash="h",
        sha256="s",
        size_bytes=size_bytes,
        operators={},
        parameters=0,
        multiply_adds=None,
        adapter_traces=(),
    )


def evaluation(*, change=0.0, agreement=1.0, calibration=0.0, classes=None):
    return EvaluateFacts(
        texts=800,
        confidence=0.95,
        plain=measured(accuracy=0.7),
        teacher=measured(accuracy=0.9),
        student=measured(accuracy=0.9 + change),
        fidelity=measured(agreement=agreement),
        change=measured(accuracy=change, macro_f1=-0.5, calibration_error=calibration),
        classes=classes or (class_quality(),),
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


def rung(arm, low, high):
    mean = Estimate(value=(low + high) / 2, low=low, high=high)
    return Rung(
        arm=arm,
        runtime="onnxruntime",
        mean_ms=mean,
        p50_ms=mean.value,
        p95_ms=mean.value,
        p99_ms=mean.value,
        faster_than_torch=None,
        faster_than_teacher=None,
        cpu_faster_than_torch=None,
        cpu_faster_than_teacher=None,
    )


def benchmark(
    *entries,
    student=1.0,
    noise=1e-4,
    spread=(-1, 0, 1, 0),
    size_bytes=90_000_000,
    ladder=(),
):
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
        graphs={"teacher": graph(100_000_000), "student int8": graph(size_bytes)},
        latency=entries or (latency(),),
        ladder=ladder,
        costs={},
        machine={},
        conditions=Conditions(load_before=0, load_after=0, steal=0, busy=0, involuntary_switches=0),
    )


def decision(evaluated=None, *entries, config=CONFIG, main_metric="accuracy", **measured):
    return decide(
        evaluated or evaluation(),
        benchmark(*entries or (latency(),), **measured),
        config,
        main_metric=main_metric,
        shipped_arm="student int8",
    )


def find(found, name):
    (check,) = [check for check in found.checks if name in check.name]
    return check


def test_student_within_every_limit_passes():
    found = decision()

    assert found.passed
    assert found.reasons == ()
    assert [check.passed for check in found.checks] == [True] * 7
    assert found.warnings == ()


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


def test_every_reason_is_given_with_number_and_limit():
    lost = class_quality(0.3, (0.2, 0.4))
    evaluated = evaluation(change=-0.04, agreement=0.9, calibration=0.05, classes=(lost,))
    found = decision(evaluated, latency(1.2), size_bytes=120_000_000)

    drop, agreement, *others = found.reasons
    assert not found.passed
    assert "accuracy is -4.00 points from" in drop
    assert "gate.max_accuracy_drop accepts a loss of 1.00" in drop
    assert "agrees with the teacher on 90.00%" in agreement
    assert "gate.min_agreement asks for 95.00%" in agreement
    class_lost, calibration, size, slow = others
    assert "Of the class negative (400 test texts) the teacher finds 90.0%" in class_lost
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
        max_accuracy_drop=0.0,
        min_agreement=1.0,
        max_class_drop=0.02,
        max_calibration_growth=0.0,
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
        ("at most", 0.5),
        ("at most", 10),
        ("at most", 0.5),
        ("at least", 0.75),
    ]
    assert len(found.reasons) == 5  # class and calibration are not sure


def test_the_size_of_the_file_that_ships_is_held_in_megabytes():
    allowed, refused = (
        decision(config=GateConfig(max_size_mb=limit), size_bytes=24_200_000)
        for limit in (24.2, 24.1)
    )

    assert allowed.passed
    assert refused.reasons == ("The student's file has 24.2 MB; gate.max_size_mb accepts 24.1.",)


def test_loss_of_a_class_with_few_texts_warns_and_does_not_refuse():
    unlucky = class_quality(0.6, (-0.1, 0.9), label="rare", texts=5)

    found = decision(evaluation(classes=(unlucky,)))

    assert found.passed
    (warning,) = found.warnings
    assert "Of the class rare (5 test texts)" in warning
    assert find(found, "worst class").result == "passed, uncertain"


def test_every_class_that_may_have_lost_much_is_named_in_one_warning():
    surest = class_quality(0.02, (0.01, 0.03), label="surest")
    rare = [class_quality(lost, (-0.2, 0.9), label=f"{lost}", texts=5) for lost in (0.2, 0.6, 0.4)]

    found = decision(evaluation(classes=(*rare, surest)))

    assert found.passed
    (warning,) = found.warnings
    assert "more than 10.00 points of recall, on too few texts to be sure" in warning
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


def test_the_tasks_main_metric_is_held_against_the_limit():
    found = decision(evaluation(change=0.0), main_metric="macro_f1")

    (reason,) = found.reasons
    assert "macro f1 is -50.00 points from" in reason


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


def paired(change, half=0.01):
    return Paired(
        texts=800,
        baseline={"accuracy": 0.9},
        candidate={"accuracy": 0.9 + change},
        change=measured(half, accuracy=change),
        confidence=0.95,
        only_baseline_right=30,
        only_candidate_right=20,
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
    assert "of which 50 tell the two apart (McNemar p = 0.2); limit:" in check.reason


def test_proven_removal_warns_of_nothing():
    assert overhead_decision("gone", **GONE).warnings == ()


@pytest.mark.parametrize(
    ("change", "passed"), [(0.0, True), (-0.0001, False), (0.1, True), (math.nan, False)]
)
def test_least_quality_just_met_and_just_missed(change, passed):
    config = GateConfig(min_quality=0.9, max_accuracy_drop=1)

    check = find(decision(evaluation(change=change), config=config), "accuracy of the student")

    assert check.passed is passed
    assert "gate.min_quality asks for 90.00%" in check.reason


@pytest.mark.parametrize(
    ("low", "passed"), [(1.0, True), (2.5, True), (2.51, False), (math.nan, False)]
)
def test_latency_in_ms_refuses_what_is_surely_slower(low, passed):
    rungs = (rung("student", 9, 11), rung("student int8", low, 4.0))

    found = decision(config=GateConfig(max_latency_ms=2.5), ladder=rungs)

    check = find(found, "time of a text")
    assert check.passed is passed
    assert check.shown_limit.endswith("2.50 ms")
    assert "surely takes more than 2.5" in check.reason


def test_limits_that_compare_with_no_other_model_are_held_only_where_they_are_asked_for():
    names = [check.name for check in decision().checks]

    assert not any("of the student" in name or "time of a text" in name for name in names)
