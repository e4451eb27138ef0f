"""Context that every stage with a model gets: backbone, task and device."""

from dataclasses import dataclass

from pipeline.checkpoints.pretrained import Checkpoint
from pipeline.facts.compute import Compute
from pipeline.tasks.task import Task


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelContext:
    """The backbone, and what it is used for."""

    backbone: Checkpoint
    task: Task
    max_length: int
    """Longest input, in tokens."""
    seed: int
    compute: Compute
    """Device of the model and its batches."""

    def key(self) -> dict[str, object]:
        """Return what shapes results: not the device, on which they differ by rounding alone."""
        return {
            "backbone": self.backbone,
            "task": self.task,
            "max_length": self.max_length,
            "seed": self.seed,
        }
