"""What the benchmark finds of a file: its structure, what it costs to load and run, its rung."""

from dataclasses import dataclass


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
