"""Stage gate: whether a student may ship. A pure decision, with every reason and number."""

from dataclasses import dataclass
from typing import Literal

from pipeline.config import GateConfig
from pipeline.proof.records import Verdict
from pipeline.records import BenchmarkFacts, EvaluateFacts


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One number against its limit."""

    name: str
    value: float
    limit: float
    bound: Literal["at most", "at least"]
    """How the value must stand to the limit."""
    passed: bool
    explanation: str
    by_verdict: bool = False
    """Whether a verdict over many numbers decided; value and limit are then one of them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """Every check; a student passes when all of them do."""

    checks: tuple[Check, ...]
    warnings: tuple[str, ...] = ()
    """What a user should know of a student that passes all the same."""

    @property
    def passed(self) -> bool:
        """Whether the student may ship."""
        return all(check.passed for check in self.checks)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why not: one sentence for every check that failed."""
        return tuple(check.explanation for check in self.checks if not check.passed)


def decide(
    evaluation: EvaluateFacts, benchmark: BenchmarkFacts, config: GateConfig, *, main_metric: str
) -> Decision:
    """Hold the measurements against the thresholds.

    Latency refuses only on evidence: when the whole interval lies above the limit, and when the
    adapters' overhead surely remains. A verdict that is inconclusive warns, unless
    ``gate.overhead`` asks for proof.
    """
    verdict = benchmark.verdict
    inconclusive = verdict is not None and verdict.outcome == "inconclusive"
    drop = -evaluation.change.values[main_metric]
    agreement = evaluation.fidelity.values["agreement"]
    slowest = max(
        (entry for entry in benchmark.latency if entry.arm == "student"),
        key=lambda entry: entry.ci_low,
    )
    return Decision(
        checks=(
            Check(
                name=f"{main_metric} lost against the teacher",
                value=drop,
                limit=config.max_accuracy_drop,
                bound="at most",
                # The drop is a difference of two counts over the texts: 8/800 is not over 0.01.
                passed=drop <= config.max_accuracy_drop + 1e-9,
                explanation=(
                    f"The student's {main_metric} is {-100 * drop:+.2f} points from the teacher's; "
                    "gate.max_accuracy_drop accepts a loss of "
                    f"{100 * config.max_accuracy_drop:.2f}."
                ),
            ),
            Check(
                name="agreement with the teacher",
                value=agreement,
                limit=config.min_agreement,
                bound="at least",
                passed=agreement >= config.min_agreement,
                explanation=(
                    f"The student agrees with the teacher on {agreement:.2%} of the test texts; "
                    f"gate.min_agreement asks for {config.min_agreement:.2%}."
                ),
            ),
            Check(
                name="latency against the plain backbone (low end of the interval)",
                value=slowest.ci_low,
                limit=config.max_latency_ratio,
                bound="at most",
                passed=slowest.ci_low <= config.max_latency_ratio,
                explanation=(
                    f"At {slowest.cell}, the student takes at "
                    f"least {slowest.ci_low:.3f} times as long as the plain backbone; "
                    f"gate.max_latency_ratio accepts {config.max_latency_ratio:.3f}."
                ),
            ),
            *([_overhead(verdict, config)] if verdict else []),
        ),
        warnings=verdict.reasons if verdict and inconclusive else (),
    )


def _overhead(verdict: Verdict, config: GateConfig) -> Check:
    """Return the check of the benchmark's verdict; its number is the removed part."""
    accepted = {
        "gone": ["overhead_gone"],
        "not_refuted": ["overhead_gone", "inconclusive"],
        "any": ["overhead_gone", "inconclusive", "overhead_remains"],
    }[config.overhead]
    lows = [cell.removed_low for cell in verdict.cells]
    known = [low for low in lows if low is not None]
    said = verdict.outcome.replace("_", " ")
    why = " ".join(verdict.reasons)
    return Check(
        name="part of the adapters' cost that is gone (low end of the interval)",
        value=min(known) if len(known) == len(lows) else 0.0,
        limit=verdict.rules.min_removed,
        bound="at least",
        passed=verdict.outcome in accepted,
        explanation=f"The benchmark's verdict: {said}. {why}".strip(),
        by_verdict=True,
    )
