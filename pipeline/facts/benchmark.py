"""Facts of the stage benchmark."""

from dataclasses import dataclass

from pipeline.facts.arms import Arm
from pipeline.facts.latency import Conditions, FileCost, Graph, Rung, cell_name
from pipeline.facts.overhead import Verdict


@dataclass(frozen=True, kw_only=True, slots=True)
class Latency:
    """One arm in one cell of the benchmark."""

    arm: Arm
    """``plain``, its A/A arm (``plain again``), ``teacher`` or ``student``."""
    batch: int
    length: int | None
    """Tokens per text; None: the test texts' own lengths."""
    median_ms: float
    """Median wall time of a call, in milliseconds."""
    p95_ms: float
    p99_ms: float
    """95th and 99th percentile of the same."""
    ratio_to_plain: float
    """Thread CPU time as a multiple of the plain backbone's: geometric mean over blocks."""
    ci_low: float
    ci_high: float
    """Confidence interval of the ratio over blocks."""
    past: int = 0
    """Tokens before these, whose keys and values are given."""

    @property
    def cell(self) -> str:
        """Return the name of its cell, for people."""
        return cell_name(self.batch, self.length, self.past)


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchmarkFacts:
    """Cost of the ONNX files on this machine, and whether the adapters' overhead is gone."""

    blocks: int
    """Blocks of the cell that had fewest."""
    confidence: float
    verdict: Verdict | None
    """None without an adapter teacher to hold the student against."""
    graphs: dict[Arm, Graph]
    """By arm: ``plain``, ``teacher``, ``student``, and other files of the student's bundle."""
    latency: tuple[Latency, ...]
    """One thread, thread CPU time, cell by cell."""
    ladder: tuple[Rung, ...]
    """Wall time, slowest first; empty where it was left out."""
    costs: dict[Arm, FileCost]
    """All cores, by arm."""
    machine: dict[str, str]
    """Processor, cores, kernel and versions."""
    conditions: Conditions
    """How busy the machine was."""
    provider: str = "cpu"
    """Execution provider of onnxruntime; ratios of any but ``cpu`` are of wall times."""
