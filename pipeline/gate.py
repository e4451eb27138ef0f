"""Stage gate: whether a student may ship. A pure decision, with every reason and number.

One function a check. Quality, fidelity and size are held by their values; what is noisy (latency,
calibration, a class with few texts) refuses only on evidence: when its whole interval is beyond
the limit. `against_champion` is the check that needs another student; promotion and retraining
make it, as only they know who the champion is.
"""

from collections.abc import Iterator
from typing import Literal

from pipeline.checks import Check, Decision, make_check
from pipeline.config import GateConfig
from pipeline.proof.class_quality import worst_class
from pipeline.proof.paired import Paired
from pipeline.proof.records import Verdict
from pipeline.records import BenchmarkFacts, EvaluateFacts

_MB = 1e6


def decide(
    evaluation: EvaluateFacts,
    benchmark: BenchmarkFacts,
    config: GateConfig,
    *,
    main_metric: str,
    shipped_arm: str,
) -> Decision:
    """Hold the measurements against the thresholds.

    A verdict on the overhead that is inconclusive warns, unless ``gate.overhead`` asks for proof;
    so does a value beyond its limit that may be luck.

    Args:
        evaluation: Of the file that ships.
        benchmark: Of its graph, and of the student's as it was exported.
        config: The thresholds.
        main_metric: The task's.
        shipped_arm: The benchmark's name of the file that ships.
    """
    checks = (
        _quality(evaluation, config, main_metric),
        _agreement(evaluation, config),
        _worst_class(evaluation, config),
        _calibration(evaluation, config),
        *_least_quality(evaluation, config, main_metric),
        *_size(benchmark, config, shipped_arm),
        _latency(benchmark, config),
        *_wall_time(benchmark, config, shipped_arm),
        *_overhead(benchmark.verdict, config),
    )
    return Decision(checks=checks, warnings=(*_open_checks(checks), *_noise(benchmark.verdict)))


def against_champion(
    paired: Paired,
    *,
    metric: str,
    max_loss: float,
    setting: str,
    evidence: Literal["not_refuted", "proven"],
) -> Check:
    """Return the check of a student against the champion, on the same texts.

    Args:
        paired: The champion is its baseline.
        metric: What is compared.
        max_loss: Accepted loss (0.01 is one point).
        setting: Name of the setting that says so.
        evidence: ``not_refuted``: refused where it is surely worse by more; ``proven``: refused
            where that cannot be ruled out.
    """
    change, (low, high) = paired.change.values[metric], paired.change.intervals[metric]
    told = paired.only_baseline_right + paired.only_candidate_right
    demand = "must be ruled out" if evidence == "proven" else "is refused when it is sure"
    return make_check(
        f"{_words(metric)} lost against the champion",
        -change,
        "at most",
        max_loss,
        interval=(-high, -low),
        evidence=evidence,
        reason=(
            f"Its {_words(metric)} is {_points(change)} points from the champion's "
            f"({_points(low)} to {_points(high)}, {paired.confidence:.0%}) on {paired.texts:,} "
            f"texts, of which {told:,} tell the two apart (McNemar p = {paired.p_value:.2g}); "
            f"{setting}: a loss of more than {100 * max_loss:.2f} points {demand}."
        ),
    )


def _quality(evaluation: EvaluateFacts, config: GateConfig, metric: str) -> Check:
    change, ends = evaluation.change.values[metric], evaluation.change.intervals[metric]
    return make_check(
        f"{_words(metric)} lost against the teacher",
        -change,
        "at most",
        config.max_accuracy_drop,
        interval=(-ends[1], -ends[0]),
        reason=(
            f"The student's {_words(metric)} is {_points(change)} points from the teacher's "
            f"({_points(ends[0])} to {_points(ends[1])}); gate.max_accuracy_drop accepts a loss of "
            f"{100 * config.max_accuracy_drop:.2f}."
        ),
    )


def _least_quality(evaluation: EvaluateFacts, config: GateConfig, metric: str) -> Iterator[Check]:
    if config.min_quality is None:
        return
    quality, ends = evaluation.student.values[metric], evaluation.student.intervals[metric]
    yield make_check(
        f"{_words(metric)} of the student",
        quality,
        "at least",
        config.min_quality,
        interval=ends,
        reason=(
            f"The student's {_words(metric)} is {quality:.2%} ({ends[0]:.2%} to {ends[1]:.2%}); "
            f"gate.min_quality asks for {config.min_quality:.2%}."
        ),
    )


def _agreement(evaluation: EvaluateFacts, config: GateConfig) -> Check:
    agreement = evaluation.fidelity.values["agreement"]
    low, high = evaluation.fidelity.intervals["agreement"]
    return make_check(
        "agreement with the teacher",
        agreement,
        "at least",
        config.min_agreement,
        interval=(low, high),
        reason=(
            f"The student agrees with the teacher on {agreement:.2%} of the test texts ({low:.2%} "
            f"to {high:.2%}); gate.min_agreement asks for {config.min_agreement:.2%}."
        ),
    )


def _worst_class(evaluation: EvaluateFacts, config: GateConfig) -> Check:
    worst = worst_class(evaluation.classes)
    low, high = worst.interval
    return make_check(
        f"recall lost of the worst class, {worst.label}",
        worst.recall_lost,
        "at most",
        config.max_class_drop,
        interval=worst.interval,
        evidence="not_refuted",
        reason=(
            f"Of the class {worst.label} ({worst.texts:,} test texts) the teacher finds "
            f"{worst.teacher_recall:.1%} and the student {worst.student_recall:.1%}: "
            f"{100 * worst.recall_lost:.2f} points lost ({100 * low:.2f} to {100 * high:.2f}, all "
            f"classes together at {evaluation.confidence:.0%}); gate.max_class_drop refuses what "
            f"is surely more than {100 * config.max_class_drop:.2f}."
        ),
    )


def _calibration(evaluation: EvaluateFacts, config: GateConfig) -> Check:
    growth = evaluation.change.values["calibration_error"]
    low, high = evaluation.change.intervals["calibration_error"]
    return make_check(
        "calibration error gained against the teacher",
        growth,
        "at most",
        config.max_calibration_growth,
        interval=(low, high),
        evidence="not_refuted",
        reason=(
            f"The student's expected calibration error is {growth:+.4f} from the teacher's "
            f"({low:+.4f} to {high:+.4f}); gate.max_calibration_growth refuses what is surely more "
            f"than {config.max_calibration_growth:.4f}."
        ),
    )


def _size(benchmark: BenchmarkFacts, config: GateConfig, shipped_arm: str) -> Iterator[Check]:
    size, teacher = (benchmark.graphs[arm].size_bytes / _MB for arm in (shipped_arm, "teacher"))
    yield make_check(
        "size against the teacher's file",
        size / teacher,
        "at most",
        config.max_size_ratio,
        unit="times",
        reason=(
            f"The student's file has {size:.1f} MB, {size / teacher:.3f} times the teacher's "
            f"{teacher:.1f} MB; gate.max_size_ratio accepts {config.max_size_ratio:.3f}."
        ),
    )
    if config.max_size_mb is not None:
        yield make_check(
            "size",
            size,
            "at most",
            config.max_size_mb,
            unit="MB",
            reason=(
                f"The student's file has {size:.1f} MB; gate.max_size_mb accepts "
                f"{config.max_size_mb:.1f}."
            ),
        )


def _latency(benchmark: BenchmarkFacts, config: GateConfig) -> Check:
    slowest = max(
        (entry for entry in benchmark.latency if entry.arm == "student"),
        key=lambda entry: entry.ci_low,
    )
    return make_check(
        f"latency against the plain backbone, {slowest.cell}",
        slowest.ratio_to_plain,
        "at most",
        config.max_latency_ratio,
        unit="times",
        interval=(slowest.ci_low, slowest.ci_high),
        evidence="not_refuted",
        reason=(
            f"At {slowest.cell}, the student takes at least {slowest.ci_low:.3f} times as long as "
            f"the plain backbone; gate.max_latency_ratio accepts {config.max_latency_ratio:.3f}."
        ),
    )


def _wall_time(benchmark: BenchmarkFacts, config: GateConfig, shipped_arm: str) -> Iterator[Check]:
    if config.max_latency_ms is None:
        return
    mean = next(rung.mean_ms for rung in benchmark.ladder if rung.arm == shipped_arm)
    yield make_check(
        "time of a text on one thread",
        mean.value,
        "at most",
        config.max_latency_ms,
        unit="ms",
        interval=(mean.low, mean.high),
        evidence="not_refuted",
        reason=(
            f"A text takes {mean.value:.2f} ms ({mean.low:.2f} to {mean.high:.2f}) on one thread; "
            f"gate.max_latency_ms refuses what surely takes more than {config.max_latency_ms:g}."
        ),
    )


def _overhead(verdict: Verdict | None, config: GateConfig) -> Iterator[Check]:
    """Yield the check of the benchmark's verdict; its number is the removed part."""
    if verdict is None:
        return
    accepted = {
        "gone": ["overhead_gone"],
        "not_refuted": ["overhead_gone", "inconclusive"],
        "any": ["overhead_gone", "inconclusive", "overhead_remains"],
    }[config.overhead]
    lows = [cell.removed_low for cell in verdict.cells]
    known = [low for low in lows if low is not None]
    said = verdict.outcome.replace("_", " ")
    why = " ".join(verdict.reasons)
    yield Check(
        name="part of the adapters' cost that is gone (low end of the interval)",
        value=min(known) if len(known) == len(lows) else 0.0,
        interval=None,
        bound="at least",
        limit=verdict.rules.min_removed,
        unit="part",
        evidence="verdict",
        passed=verdict.outcome in accepted,
        reason=f"The benchmark's verdict: {said}. {why}".strip(),
    )


def _noise(verdict: Verdict | None) -> tuple[str, ...]:
    inconclusive = verdict is not None and verdict.outcome == "inconclusive"
    return verdict.reasons if verdict is not None and inconclusive else ()


def _open_checks(checks: tuple[Check, ...]) -> Iterator[str]:
    """Yield a warning for each value beyond its limit that may be luck."""
    for check in checks:
        if check.is_open:
            yield f"{check.reason} The interval reaches the limit: measure on more texts to know."


def _words(metric: str) -> str:
    return metric.replace("_", " ")


def _points(change: float) -> str:
    return f"{100 * change:+.2f}"
