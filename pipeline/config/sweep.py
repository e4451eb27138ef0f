"""The smaller students that a sweep makes."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.section import Section
from pipeline.config.student import LayerNumbers
from pipeline.config.training import DistillConfig

Depth = Annotated[int, Field(ge=1)]


class SweepConfig(Section):
    """What `adapter-distill sweep` chooses among: students of fewer layers, in fp32 and int8."""

    layers: Annotated[tuple[Depth | LayerNumbers, ...], Field(min_length=1)] = (6, 4, 3, 2)
    """Students: how many of the backbone's layers each keeps, evenly spaced, or which ones, from
    0: ``[4, [0, 2, 5]]``. The student of all layers is always there; larger numbers are left
    out."""

    precisions: Annotated[tuple[Literal["fp32", "int8"], ...], Field(min_length=1)] = (
        "fp32",
        "int8",
    )
    """Precisions in which each student is measured."""

    distill: DistillConfig = DistillConfig(epochs=6, learning_rate=1e-4)
    """Distillation of the students that lack layers: more of it, at a higher rate, than an
    absorbed student of full depth wants. That one keeps `distill`."""

    blocks: int = Field(default=10, ge=3)
    """Blocks of the timing of all files, each with fresh sessions, in wall time."""

    seconds: float = Field(default=180.0, gt=0)
    """No new block is begun after this many seconds, once three are done."""
