"""The adapter teacher that a process times in PyTorch, in a module without torch."""

from dataclasses import dataclass
from pathlib import Path

from pipeline.facts.arms import Arm


@dataclass(frozen=True, kw_only=True, slots=True)
class TorchTeacher:
    """A teacher's folder, and its backbone's where that is known."""

    folder: Path
    backbone: Path | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class TorchSpec:
    """Teacher that the process times in PyTorch."""

    arm: Arm
    teacher: str
    """Folder of the teacher."""
    backbone: str | None
    """Folder of its backbone; None takes the one that the teacher names."""
    calls: list[list[list[int]]]
    """Token ids of each call of a round, (B, T)."""
    rounds: int
    warmup_runs: int
    seed: int
