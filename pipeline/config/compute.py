"""The processors that a run uses."""

from pydantic import Field

from pipeline.config.section import Section


class ComputeConfig(Section):
    """Processors that every stage with a model uses."""

    device: str = Field(default="auto", pattern=r"^(auto|cpu|mps|cuda(:\d{1,3})?)$")
    """Device of models, batches and sums: ``cpu``, ``cuda``, ``cuda:1`` or ``mps``. ``auto`` takes
    the first NVIDIA GPU, else the CPU. A missing device is refused."""

    processes: int = Field(default=1, ge=1, le=1024)
    """Processes that share the rows of fine-tuning, absorption, soft targets and distillation. On
    CPUs they share the threads too; on GPUs each has one of its own."""
