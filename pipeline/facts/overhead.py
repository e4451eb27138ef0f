"""The verdict on the adapters' overhead, and the rules it follows."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AliasChoices, Field

from pipeline.facts.latency import Estimate

Outcome = Literal["overhead_gone", "overhead_remains", "inconclusive"]
# Earlier versions wrote measurements in which it was called "again".
_AAEstimate = Annotated[Estimate, Field(validation_alias=AliasChoices("a_a_arm", "again"))]


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """Limits of the tests, from the config's table ``benchmark``."""

    confidence: float
    """Confidence level of all intervals; that of the equivalence test is always 90 %."""
    max_half_width: float
    """Largest half-width of the A/A interval, as part of 1."""
    min_margin: float
    max_margin: float
    """The margin of equivalence is a quarter of the adapters' cost, held between these."""
    min_removed: float
    """Least part of the overhead that must be gone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Structure:
    """Comparison of the graphs, before anything is timed."""

    student_is_plain: bool
    """Student and plain backbone have the same canonical hash."""
    student_is_teacher: bool
    teacher_is_plain: bool
    adapter_traces: tuple[str, ...]
    """Names of adapters in the student that plain does not have."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CellVerdict:
    """Four numbers, four tests, and what follows from them."""

    cell: str
    blocks: int
    a_a_arm: _AAEstimate
    """Plain file to itself: 1 up to noise."""
    teacher: Estimate
    """Teacher to plain: the cost of the adapters."""
    student: Estimate
    """Student to plain."""
    student_90: Estimate
    """Student to plain, with the interval of the equivalence test."""
    margin: float
    """Accepted distance of ``student_90`` from 1."""
    removed: float | None
    """Part of the overhead that is gone."""
    removed_low: float | None
    removed_high: float | None
    """None where the interval has no ends: the overhead itself may be zero."""
    calibrated: bool
    sensitive: bool
    equivalent: bool
    removed_enough: bool
    outcome: Outcome
    reasons: tuple[str, ...]
    """Reasons why the overhead is not proven gone, with advice."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """The decision over all cells, with everything that it was made of."""

    outcome: Outcome
    claim: Literal["equal to plain", "faster than plain"]
    """Claim about the student; the second if its shape differs from the backbone's."""
    reasons: tuple[str, ...]
    """Empty where the overhead is gone."""
    structure: Structure
    cells: tuple[CellVerdict, ...]
    a_a_arm: _AAEstimate
    teacher: Estimate
    student: Estimate
    """Geometric means over the cells."""
    rules: Rules
