"""Facts of the benchmark: structures, costs of a file, rungs of the ladder, conditions."""

from dataclasses import dataclass
from typing import Literal

from pipeline.facts.arms import Arm


def cell_name(batch: int, length: int | None, past: int = 0) -> str:
    """Return a cell's name, for people."""
    tokens = f"{length} token{'s' if length > 1 else ''}" if length else "own lengths"
    return f"batch {batch}, {tokens}" + (f" after {past}" if past else "")


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
    """sha256 of the file."""
    size_bytes: int
    """Size of the file and of the files that hold its weights, in bytes."""
    operators: dict[str, int]
    """Nodes by operator."""
    parameters: int
    """Weights, without scales and zero points of quantised ones."""
    multiply_adds: int | None
    """Multiply-adds of one call; None where they cannot be counted."""
    adapter_traces: tuple[str, ...]
    """Names in the graph that belong to an adapter."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FileCost:
    """Cost of one ONNX file for a user with all cores, in a process of its own."""

    load_ms: float
    """Median time until a session stands, in milliseconds, with the file in the page cache."""
    peak_rss_bytes: int
    """Peak memory of the process, Python and onnxruntime included."""
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
    """One arm of the latency ladder: wall time, with one thread and one text per call."""

    arm: Arm
    runtime: Literal["PyTorch", "onnxruntime"]
    mean_ms: Estimate
    """Wall time of a text, in milliseconds: geometric mean over blocks."""
    p50_ms: float
    p95_ms: float
    p99_ms: float
    """Percentiles of the wall time over all calls, in milliseconds."""
    faster_than_torch: Estimate | None
    """How many times faster than the teacher in PyTorch; None without that rung."""
    faster_than_teacher: Estimate | None
    """How many times faster than the teacher in onnxruntime; None without that rung."""
    cpu_faster_than_torch: Estimate | None
    cpu_faster_than_teacher: Estimate | None
    """Speed against the teachers in thread CPU time, which other processes disturb less."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Conditions:
    """How busy the machine was while it was measured."""

    load_before: float
    load_after: float
    """Mean number of processes that wanted a core, over a minute."""
    steal: float
    """Part of the cores' time that the hypervisor gave to others."""
    busy: float
    """Part of the cores' time that was used, by us and by others."""
    involuntary_switches: int
    """How often a measuring process lost its core to another."""
    threads: str = "unknown"
    """Threads of each library where no number is measured, and what limits them."""
