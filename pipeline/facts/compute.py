"""The processors that a run uses, as they were found."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Compute:
    """Device that models are on, and the processes that share a stage's rows."""

    device: str = "cpu"
    """Name in torch: ``cpu``, ``mps``, or a GPU with its number, such as ``cuda:0``."""
    name: str = ""
    """Product name of a GPU."""
    memory_bytes: int = 0
    """Memory of the device; that of the machine for a CPU."""
    processes: int = 1
    """Processes that share a stage; each has a GPU of its own where there are some."""

    @property
    def is_cuda(self) -> bool:
        """Whether it is an NVIDIA GPU."""
        return self.device.startswith("cuda")

    def __str__(self) -> str:
        """Return it for people. A CPU is as good as any other, so it has no name."""
        return f"{self.device} ({self.name}, {_gib(self)})" if self.name else self.device

    @property
    def described(self) -> str:
        """Device with its memory, for people."""
        device = str(self) if self.name else f"{self.device}, {_gib(self)} of memory"
        return device if self.processes == 1 else f"{device}, {self.processes} processes"


def _gib(compute: Compute) -> str:
    return f"{compute.memory_bytes / 1024**3:.1f} GiB"
