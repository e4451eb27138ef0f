"""The front of quality and latency, and the student that is picked from it: pure decisions."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline.config import GateConfig, RunConfig
from pipeline.facts.arms import Arm
from pipeline.facts.sweep import Pick, StudentFile, Sweep, SweepQuality, SweepStudy, SweepTimes


@dataclass(frozen=True, kw_only=True, slots=True)
class Contender:
    """A student in one precision, by the two numbers that choose."""

    name: Arm
    quality: float
    """Main metric on the validation split."""
    latency_ms: float
    """Mean wall time of a text, on one thread."""


def decide_sweep(
    config: RunConfig,
    files: Sequence[StudentFile],
    quality: SweepQuality,
    times: SweepTimes,
    *,
    metric: str,
    study: SweepStudy | None = None,
) -> Sweep:
    """Return a sweep with its front and its pick.

    Args:
        config: Config of the sweep, with the gate's limits.
        files: Every student in every precision, refused ones too.
        quality: Quality of the files that may ship.
        times: Times of the same files.
        metric: The task's main metric.
        study: Trials that chose the combinations, if they did.
    """
    contenders = candidates(files, quality, times, metric=metric)
    return Sweep(
        name=config.name,
        model=config.teacher.model,
        task=config.task,
        metric=metric,
        files=tuple(files),
        quality=quality,
        times=times,
        front=front(contenders),
        pick=pick(contenders, config.gate),
        min_quality=config.gate.min_quality,
        max_latency_ms=config.gate.max_latency_ms,
        study=study,
    )


def candidates(
    files: Iterable[StudentFile], quality: SweepQuality, times: SweepTimes, *, metric: str
) -> tuple[Contender, ...]:
    """Return every file that was measured, in the order of ``files``."""
    rungs = {rung.arm: rung for rung in times.rungs}
    return tuple(
        Contender(
            name=file.name,
            quality=quality.files[file.name].validation.values[metric],
            latency_ms=rungs[file.name].mean_ms.value,
        )
        for file in files
        if file.refused is None
    )


def front(contenders: Sequence[Contender]) -> tuple[Arm, ...]:
    """Return the names of those that no other one beats, fastest first.

    One beats another that is better in neither quality nor latency, and worse in one of them.
    """
    best: list[Contender] = []
    for candidate in sorted(contenders, key=lambda each: (each.latency_ms, -each.quality)):
        if not best or candidate.quality > best[-1].quality:
            best.append(candidate)
    return tuple(candidate.name for candidate in best)


def pick(contenders: Sequence[Contender], gate: GateConfig) -> Pick:
    """Return the student that `gate.min_quality` and `gate.max_latency_ms` pick.

    A least quality picks the fastest student that reaches it, within the latency if both are given.
    A latency alone picks the best student within it.
    """
    quality, latency = gate.min_quality, gate.max_latency_ms
    if quality is None and latency is None:
        return Pick(
            name=None, reason="Nothing is picked: set gate.min_quality or gate.max_latency_ms."
        )
    if not contenders:
        return Pick(name=None, reason="Nothing is picked: every student is refused.")
    good = [each for each in contenders if quality is None or each.quality >= quality]
    fast = [each for each in contenders if latency is None or each.latency_ms <= latency]
    both = [each for each in good if each in fast]
    if not both:
        return Pick(name=None, reason=_nearest(contenders, good, fast, gate))
    if quality is None:
        chosen = max(both, key=lambda each: (each.quality, -each.latency_ms))
        why = f"the best within {latency:g} ms"
    else:
        chosen = min(both, key=lambda each: (each.latency_ms, -each.quality))
        why = f"the fastest that reaches {quality:g}"
    return Pick(name=chosen.name, reason=f"{_described(chosen)}: {why}")


def _nearest(
    contenders: Sequence[Contender],
    good: Sequence[Contender],
    fast: Sequence[Contender],
    gate: GateConfig,
) -> str:
    """Say what was asked for, what comes nearest, and what to do."""
    asked, nearest = [], []
    if gate.min_quality is not None:
        asked.append(f"gate.min_quality = {gate.min_quality:g}")
        best = max(fast or contenders, key=lambda each: (each.quality, -each.latency_ms))
        which = " that is as fast" if 0 < len(fast) < len(contenders) else ""
        nearest.append(f"the best{which} is {_described(best)}")
    if gate.max_latency_ms is not None:
        asked.append(f"gate.max_latency_ms = {gate.max_latency_ms:g}")
        first = min(good or contenders, key=lambda each: (each.latency_ms, -each.quality))
        which = " that is as good" if 0 < len(good) < len(contenders) else ""
        nearest.append(f"the fastest{which} is {_described(first)}")
    return (
        f"No student meets {' and '.join(asked)}: {', and '.join(nearest)}. Relax the limits, "
        "give sweep.distill more epochs or texts, or sweep other layers."
    )


def _described(candidate: Contender) -> str:
    quality, latency = (
        f"validation {candidate.quality:.4f}",
        f"{candidate.latency_ms:.2f} ms a text",
    )
    return f"{candidate.name} ({quality}, {latency})"
