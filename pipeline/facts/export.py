"""Facts of the stage export."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Parity:
    """One comparison of an ONNX file with torch."""

    model: str
    """``plain``, ``teacher`` or ``student``."""
    batch: int
    length: int
    """Tokens per text."""
    mask: str
    """``full``, ``right``, ``left`` or ``hole``: where the padding stands."""
    max_abs_difference: float
    """Largest difference of a logit."""
    tolerance: float
    """Accepted difference: the config's, times max(1, largest logit)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportFacts:
    """The ONNX files' operator set, and every comparison with torch."""

    opset: int
    parity: tuple[Parity, ...]
