"""One number against its limit: what the gate, promotion and retraining decide by, and all show.

A check says itself what counts as evidence. A value may decide alone; or its interval does, one way
(refused only where all of it lies beyond the limit, so that luck refuses nobody) or the other
(passed only where all of it lies within, so that luck passes nobody). A reader of a check can
therefore compare it with its limit again, and need not believe the verdict.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from pipeline.facts.quality import Interval

Bound = Literal["at most", "at least"]
Unit = Literal["part", "times", "MB", "ms"]
Evidence = Literal["value", "not_refuted", "proven", "verdict"]
_ROUNDING = 1e-9
"""A loss is often a difference of two counts over the texts: 8/800 is not over 0.01."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One number, its limit, and whether it holds."""

    name: str
    value: float
    interval: Interval | None
    """Confidence interval of the value; None for what is no estimate."""
    bound: Bound
    """How the value must stand to the limit."""
    limit: float
    unit: Unit
    """Unit of value and limit. ``part`` is part of 1, shown in per cent; ``times`` is a ratio.
    ``MB`` is a million bytes, ``ms`` is milliseconds."""
    evidence: Evidence
    """``value``: the value itself must hold. ``not_refuted``: refused where the whole interval is
    beyond the limit. ``proven``: passed where the whole interval is within it. ``verdict``: decided
    by many numbers, of which value and limit are one."""
    passed: bool
    reason: str
    """Sentence with the found value, the accepted one, and the setting."""
    not_in_force: str = ""
    """Why nothing is held against the limit; empty for a check that decides."""

    @property
    def is_open(self) -> bool:
        """Whether the value is beyond its limit, but too uncertain to refuse anybody."""
        may_be_luck = self.evidence in ("not_refuted", "verdict") and not self.not_in_force
        return self.passed and may_be_luck and not self._reaches(self.value)

    @property
    def shown_value(self) -> str:
        """Return the value with its interval, for people."""
        value = shown(self.value, self.unit)
        if self.interval is None:
            return value
        low, high = (shown(end, self.unit) for end in self.interval)
        return f"{value} ({low} to {high})"

    @property
    def shown_limit(self) -> str:
        """Return the limit and what must reach it, for people."""
        limit = f"{self.bound} {shown(self.limit, self.unit)}"
        return {
            "value": limit,
            "not_refuted": f"not significantly beyond {shown(self.limit, self.unit)}",
            "proven": f"significantly {limit}",
            "verdict": f"by verdict ({limit})",
        }[self.evidence]

    @property
    def result(self) -> str:
        """Return what came of it, in a few words."""
        if not self.passed:
            return "refused"
        if self.not_in_force:
            return f"not in force: {self.not_in_force}"
        return "passed, uncertain" if self.is_open else "passed"

    def holds(self) -> bool:
        """Hold the numbers against the limit again, whatever ``passed`` says.

        A value that is not a number never holds.
        """
        if self.evidence == "verdict":
            return self.passed
        if self.evidence == "value" or self.interval is None:
            return self._reaches(self.value)
        ends = [self._reaches(end) for end in self.interval]
        return all(ends) if self.evidence == "proven" else any(ends)

    def _reaches(self, value: float) -> bool:
        if self.bound == "at most":
            return value <= self.limit + _ROUNDING
        return value >= self.limit - _ROUNDING


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """Every check; a student passes when all of them do."""

    checks: tuple[Check, ...]
    warnings: tuple[str, ...] = ()
    """Findings that a user should know of a student that passes."""

    @property
    def passed(self) -> bool:
        """Whether the student may ship."""
        return all(check.passed for check in self.checks)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why not: one sentence for every check that failed."""
        return failures(self.checks)


def make_check(
    name: str,
    value: float,
    limit: tuple[Bound, float],
    *,
    reason: str,
    unit: Unit = "part",
    interval: Interval | None = None,
    evidence: Literal["value", "not_refuted", "proven"] = "value",
) -> Check:
    """Return a check that its own numbers decide."""
    check = Check(
        name=name,
        value=value,
        interval=interval,
        bound=limit[0],
        limit=limit[1],
        unit=unit,
        evidence=evidence,
        passed=False,
        reason=reason,
    )
    return replace(check, passed=check.holds())


def note_wide(check: Check, setting: str, *, widest: float) -> Check:
    """Return a check, marked as not in force where its limit accepts any value.

    Args:
        check: The check.
        setting: Name of the setting of its limit.
        widest: Limit that no value can miss.
    """
    is_wide = check.limit >= widest if check.bound == "at most" else check.limit <= widest
    return replace(check, not_in_force=f"{setting} accepts any value" if is_wide else "")


def count_results(checks: Sequence[Check]) -> str:
    """Return how many checks passed, in a clause that names those that did not plainly pass."""
    plain = [check for check in checks if check.result == "passed"]
    if len(plain) == len(checks):
        return f"all {len(checks)} checks passed"
    groups = {
        "refused": [check.name for check in checks if not check.passed],
        "passed, uncertain": [check.name for check in checks if check.is_open],
        "not in force": [
            f"{check.name}: {check.not_in_force}"
            for check in checks
            if check.passed and check.not_in_force
        ],
    }
    said = [f"{len(plain)} of {len(checks)} checks passed"]
    said += [f"{len(names)} {what} ({'; '.join(names)})" for what, names in groups.items() if names]
    return ", ".join(said)


def failures(checks: Sequence[Check]) -> tuple[str, ...]:
    """Return the reason of every check that failed."""
    return tuple(check.reason for check in checks if not check.passed)


def shown(value: float, unit: Unit) -> str:
    """Return a number in its unit, for people."""
    if unit == "part":
        return f"{round(value, 4) + 0.0:.2%}"  # what rounds to zero has no sign
    return {
        "times": f"{value:.3f}\N{MULTIPLICATION SIGN}",
        "MB": f"{value:.1f} MB",
        "ms": f"{value:.2f} ms",
    }[unit]
