"""Context that every stage with a model gets: backbone, task and device."""

from dataclasses import dataclass

import torch

from pipeline.checkpoints.pretrained import Checkpoint
from pipeline.tasks.task import Task


@dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    """Device on which trainings run."""

    name: str
    """Name of the device in torch, such as ``cpu``."""

    @property
    def is_cuda(self) -> bool:
        """Whether it is an NVIDIA GPU."""
        return self.name.startswith("cuda")


def find_device() -> Device:
    """Return the GPU where there is one, else the CPU."""
    return Device(name="cuda" if torch.cuda.is_available() else "cpu")


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelContext:
    """The backbone, and what it is used for."""

    backbone: Checkpoint
    task: Task
    max_length: int
    """Longest input, in tokens."""
    seed: int
    device: Device

    def key(self) -> dict[str, object]:
        """Return what shapes results: not the device, on which they differ by rounding alone."""
        return {
            "backbone": self.backbone,
            "task": self.task,
            "max_length": self.max_length,
            "seed": self.seed,
        }
