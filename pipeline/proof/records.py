"""What the benchmark finds: structures, costs of a file, rungs of the ladder, a verdict."""

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["overhead_gone", "overhead_remains", "inconclusive"]


def cell_name(batch: int, length: int | None) -> str:
    """Return a cell's name, for people."""
    return f"batch {batch}, " + (f"{length} tokens" if length else "own lengths")


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A ratio and its confidence interval."""

    value: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        """Half the interval."""
        return (self.high - self.low) / 2

    def inverse(self) -> "Estimate":
        """Return the ratio the other way round."""
        return Estimate(value=1 / self.value, low=1 / self.high, high=1 / self.low)


@dataclass(frozen=True, kw_only=True, slots=True)
class Graph:
    """The structure of an ONNX graph."""

    hash: str
    """Equal for graphs that differ in names, order and weights alone."""
    sha256: str
    """Of the file."""
    size_bytes: int
    """Of the file, and of those that hold weights for it."""
    operators: dict[str, int]
    """Nodes by operator."""
    parameters: int
    """Weights, without scales and zero points of quantised ones."""
    multiply_adds: int | None
    """Of one call; None where they cannot be told."""
    adapter_traces: tuple[str, ...]
    """Names in the graph that are an adapter's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FileCost:
    """What one ONNX file costs a user with all cores, in a process of its own."""

    load_ms: float
    """Median time until a session stands, in milliseconds, with the file in the page cache."""
    peak_rss_bytes: int
    """Peak memory of the process, of which Python and onnxruntime have their part."""
    threads: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    """Wall time of a call with one text, in milliseconds."""
    batch: int
    """Texts per call of the throughput."""
    texts_per_second: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Rung:
    """One arm of the latency ladder: wall time, one thread, one text a call, as a user sees it."""

    arm: str
    runtime: Literal["PyTorch", "onnxruntime"]
    mean_ms: Estimate
    """Of a text, in milliseconds: geometric mean over blocks."""
    p50_ms: float
    p95_ms: float
    p99_ms: float
    """Over all calls."""
    faster_than_torch: Estimate | None
    """How many times faster than the teacher in PyTorch; None without that rung."""
    faster_than_teacher: Estimate | None
    """How many times faster than the teacher in onnxruntime; None without that rung."""
    cpu_faster_than_torch: Estimate | None
    cpu_faster_than_teacher: Estimate | None
    """The same in thread CPU time: what remains of it where nothing else wants the core."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """What the tests ask for."""

    confidence: float = 0.95
    """Of all intervals but that of the equivalence test, which is 90 %."""
    max_half_width: float = 0.01
    """Largest half-width of the A/A interval, as part of 1."""
    min_margin: float = 0.01
    max_margin: float = 0.02
    """The margin of equivalence is a quarter of the adapters' cost, held between these."""
    min_removed: float = 0.75
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
    again: Estimate
    """The plain file again, to plain: 1 but for noise."""
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
    again: Estimate
    teacher: Estimate
    student: Estimate
    """Geometric means over the cells."""
    rules: Rules
