"""Stage gate: whether a student may ship. A pure decision, with every reason and number.

The checks, one function each, are in quality_checks.py and cost_checks.py.
"""

from collections.abc import Iterator

from pipeline.config import GateConfig
from pipeline.decisions import cost, quality
from pipeline.decisions.check import Check, Decision
from pipeline.facts.benchmark import BenchmarkFacts
from pipeline.facts.overhead import Verdict
from pipeline.facts.quality import EvaluateFacts
from pipeline.statistics.class_quality import worst_class

_LISTED = 5
"""Classes that a warning names."""


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
        quality.quality_lost(evaluation, config, main_metric),
        quality.agreement(evaluation, config),
        quality.worst_class_lost(evaluation, config),
        quality.calibration_lost(evaluation, config),
        *quality.least_quality(evaluation, config, main_metric),
        *cost.sizes(benchmark, config, shipped_arm),
        cost.latency(benchmark, config),
        *cost.wall_time(benchmark, config, shipped_arm),
        *cost.overhead(benchmark.verdict, config),
    )
    warnings = (
        *_open_checks(checks),
        *_uncertain_classes(evaluation, config),
        *_noise(benchmark.verdict),
    )
    return Decision(checks=checks, warnings=warnings)


def _noise(verdict: Verdict | None) -> tuple[str, ...]:
    inconclusive = verdict is not None and verdict.outcome == "inconclusive"
    return verdict.reasons if verdict is not None and inconclusive else ()


def _open_checks(checks: tuple[Check, ...]) -> Iterator[str]:
    """Yield a warning for each value beyond its limit that may be luck."""
    for check in checks:
        if check.is_open:
            yield f"{check.reason} The interval reaches the limit: measure on more texts to know."


def _uncertain_classes(evaluation: EvaluateFacts, config: GateConfig) -> Iterator[str]:
    """Yield one warning of the classes that lost too much on too few texts to be sure of it.

    Of the worst class its own check speaks; it is the surest loss, and rarely the largest.
    """
    worst = worst_class(evaluation.classes)
    beyond = [
        each
        for each in evaluation.classes
        if each is not worst and each.recall_lost > config.max_class_drop
    ]
    if beyond:
        largest = sorted(beyond, key=lambda each: -each.recall_lost)[:_LISTED]
        listed = ", ".join(
            f"{each.label} ({100 * each.recall_lost:.0f} points on {each.texts:,})"
            for each in largest
        )
        rest = len(beyond) - len(largest)
        yield (
            f"Classes that lost more than {100 * config.max_class_drop:.2f} points of recall, on "
            f"too few texts to be sure: {listed}{f' and {rest} more' if rest else ''}. "
            "Measure on more texts of them to know."
        )
