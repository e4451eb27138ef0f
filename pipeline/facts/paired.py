"""Facts of two models on the same texts."""

from dataclasses import dataclass

from pipeline.facts.quality import Measured, Metrics


@dataclass(frozen=True, kw_only=True, slots=True)
class Paired:
    """A candidate against a baseline."""

    texts: int
    baseline: Metrics
    candidate: Metrics
    change: Measured
    """Candidate minus baseline, metric by metric."""
    confidence: float
    """Level of the intervals."""
    baseline_better: int
    """Texts on which the baseline's error is smaller."""
    candidate_better: int
    """Texts on which the candidate's error is smaller."""
    p_value: float
    """Sign test, two-sided."""
