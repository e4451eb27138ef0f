"""Stage gate: whether a student may ship. A pure decision, with every reason and number.

The checks, one function each, are in the task's file, quality.py and cost.py.
"""

from collections.abc import Iterator, Sequence

from pipeline.config import GateConfig
from pipeline.decisions import cost
from pipeline.decisions.check import Check, Decision
from pipeline.facts.arms import Arm
from pipeline.facts.benchmark import BenchmarkFacts
from pipeline.facts.overhead import Verdict


def decide(
    quality: Sequence[Check],
    benchmark: BenchmarkFacts,
    config: GateConfig,
    *,
    warnings: Sequence[str] = (),
    shipped_arm: Arm,
) -> Decision:
    """Compare the measurements with the limits.

    An inconclusive verdict on the overhead is a warning, unless ``gate.overhead`` demands proof. A
    value beyond its limit that may be luck is a warning too.

    Args:
        quality: Checks of the task on the file that ships.
        benchmark: Latency and size of that file, and of the student as it was exported.
        config: Limits.
        warnings: Warnings of the task.
        shipped_arm: Name of the file that ships, in the benchmark.
    """
    checks = (
        *quality,
        *cost.sizes(benchmark, config, shipped_arm),
        cost.latency(benchmark, config),
        *cost.wall_time(benchmark, config, shipped_arm),
        *cost.overhead(benchmark.verdict, config),
    )
    return Decision(
        checks=checks, warnings=(*_open_checks(checks), *warnings, *_noise(benchmark.verdict))
    )


def _noise(verdict: Verdict | None) -> tuple[str, ...]:
    inconclusive = verdict is not None and verdict.outcome == "inconclusive"
    return verdict.reasons if verdict is not None and inconclusive else ()


def _open_checks(checks: tuple[Check, ...]) -> Iterator[str]:
    """Yield a warning for each value beyond its limit that may be luck."""
    for check in checks:
        if check.is_open and check.evidence == "not_refuted":
            yield f"{check.reason} The interval reaches the limit: measure on more texts to know."
