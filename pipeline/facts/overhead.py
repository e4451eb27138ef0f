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
    """Limits that the tests are held against: those of the config's ``benchmark``."""

    confidence: float
    """Of all intervals but that of the equivalence test, which is 90 %."""
    max_half_width: float
    """Largest half-width of the A/A interval, as part of 1."""
    min_margin: float
    max_margin: float
    """The margin of equivalence is a quarter of the adapters' cost, held between these."""
    min_removed: float
    """Least part of the overhead that must be gone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Structure:
    """What the graphs say before anything is timed."""

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
    """The plain file to itself: 1 but for noise."""
    teacher: Estimate
    """Teacher to plain: what the adapters cost."""
    student: Estimate
    """Student to plain."""
    student_90: Estimate
    """The same with the interval of the equivalence test."""
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
    """Why it is not gone, and what to do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """The decision over all cells, with everything that it was made of."""

    outcome: Outcome
    claim: Literal["equal to plain", "faster than plain"]
    """The second for a student of another shape than the backbone."""
    reasons: tuple[str, ...]
    """Empty where the overhead is gone."""
    structure: Structure
    cells: tuple[CellVerdict, ...]
    a_a_arm: _AAEstimate
    teacher: Estimate
    student: Estimate
    """Geometric means over the cells."""
    rules: Rules
