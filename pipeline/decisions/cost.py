"""The gate's checks of a student's cost: size, time, and the adapters' overhead.

A size is checked by its value. Times are noisy, and refuse only on evidence. Evidence is a whole
interval beyond the limit, or the benchmark's verdict.
"""

from collections.abc import Iterator

from pipeline.config import GateConfig
from pipeline.decisions.check import Check, make_check
from pipeline.facts.arms import STUDENT, TEACHER, Arm
from pipeline.facts.benchmark import BenchmarkFacts
from pipeline.facts.overhead import Verdict

_MB = 1e6


def sizes(benchmark: BenchmarkFacts, config: GateConfig, shipped_arm: Arm) -> Iterator[Check]:
    """Yield the size of the file that ships, against the teacher and by itself."""
    size, teacher = (benchmark.graphs[arm].size_bytes / _MB for arm in (shipped_arm, TEACHER))
    yield make_check(
        "size against the teacher's file",
        size / teacher,
        ("at most", config.max_size_ratio),
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
            ("at most", config.max_size_mb),
            unit="MB",
            reason=(
                f"The student's file has {size:.1f} MB; gate.max_size_mb accepts "
                f"{config.max_size_mb:.1f}."
            ),
        )


def latency(benchmark: BenchmarkFacts, config: GateConfig) -> Check:
    """Return the CPU time of the slowest cell against the plain backbone."""
    slowest = max(
        (entry for entry in benchmark.latency if entry.arm == STUDENT),
        key=lambda entry: entry.ci_low,
    )
    return make_check(
        f"latency against the plain backbone, {slowest.cell}",
        slowest.ratio_to_plain,
        ("at most", config.max_latency_ratio),
        unit="times",
        interval=(slowest.ci_low, slowest.ci_high),
        evidence="not_refuted",
        reason=(
            f"At {slowest.cell}, the student takes at least {slowest.ci_low:.3f} times as long as "
            f"the plain backbone; gate.max_latency_ratio accepts {config.max_latency_ratio:.3f}."
        ),
    )


def wall_time(benchmark: BenchmarkFacts, config: GateConfig, shipped_arm: Arm) -> Iterator[Check]:
    """Yield the wall time of a text, where the config asks for a largest one."""
    if config.max_latency_ms is None:
        return
    mean = next(rung.mean_ms for rung in benchmark.ladder if rung.arm == shipped_arm)
    yield make_check(
        "time of a text on one thread",
        mean.value,
        ("at most", config.max_latency_ms),
        unit="ms",
        interval=(mean.low, mean.high),
        evidence="not_refuted",
        reason=(
            f"A text takes {mean.value:.2f} ms ({mean.low:.2f} to {mean.high:.2f}) on one thread; "
            "gate.max_latency_ms refuses significantly more than "
            f"{config.max_latency_ms:g}."
        ),
    )


def overhead(verdict: Verdict | None, config: GateConfig) -> Iterator[Check]:
    """Yield the benchmark's verdict; its number is the part of the cost that is gone."""
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
        not_in_force=(
            "gate.overhead = any only shows the verdict" if config.overhead == "any" else ""
        ),
    )
