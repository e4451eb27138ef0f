"""Facts of the comparison of adapters with other methods."""

from dataclasses import dataclass

from pipeline.facts.latency import Estimate
from pipeline.facts.quality import Measured


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparedModel:
    """One way to adapt a backbone, or a student of one, on the test split."""

    name: str
    teacher: str | None
    """Name of its reference model; None unless it is a student or a merged model."""
    trainable_parameters: int
    """Parameters that gradients updated; 0 for a student that was only absorbed."""
    total_parameters: int
    quality: Measured
    fidelity: Measured | None
    """Closeness to its reference model."""
    is_plain_graph: bool
    """Whether its ONNX graph is the plain backbone's, weights aside."""
    latency: Estimate | None
    """CPU time of a call, as a multiple of the plain backbone's. None if the graph is the plain
    one, which is not timed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparisonFacts:
    """All compared models; the first is the plain backbone with its head."""

    models: tuple[ComparedModel, ...]
    confidence: float
    machine: dict[str, str]
