"""Facts of the stage export."""

from dataclasses import dataclass

from pipeline.facts.arms import Arm


@dataclass(frozen=True, kw_only=True, slots=True)
class Parity:
    """One comparison of an ONNX file with torch."""

    model: Arm
    """``plain``, ``teacher`` or ``student``."""
    batch: int
    length: int
    """Tokens per text."""
    mask: str
    """``full``, ``right``, ``left`` or ``hole``: where the padding stands."""
    max_abs_difference: float
    """Largest difference of an output."""
    tolerance: float
    """Accepted difference: the config's, times max(1, largest output)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportFacts:
    """The ONNX files' operator set, and every comparison with torch."""

    opset: int
    parity: tuple[Parity, ...]
