"""The smaller students that a sweep makes."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.section import Section
from pipeline.config.student import LayerNumbers
from pipeline.config.training import DistillConfig

Depth = Annotated[int, Field(ge=1)]
Varied = bool | int | float | str | None
"""Value of a setting that a sweep varies."""


class SmallerDistillConfig(DistillConfig):
    """Distillation of the students that lack layers.

    They need more epochs and a higher rate than an absorbed student of full depth.
    """

    epochs: float = Field(default=6.0, gt=0)
    """Passes over the training texts; parts of one are possible."""

    learning_rate: float = Field(default=1e-4, gt=0)
    """Peak learning rate."""


class SweepConfig(Section):
    """Students that `adapter-distill sweep` makes: layers, precisions, and any setting varied."""

    layers: Annotated[tuple[Depth | LayerNumbers, ...], Field(min_length=1)] = (6, 4, 3, 2)
    """Layers of each student: a number of evenly spaced layers, or chosen ones counted from 0, as
    in ``[4, [0, 2, 5]]``. The student of all layers is always included. Numbers beyond the
    backbone's are left out."""

    precisions: Annotated[tuple[Literal["fp32", "int8"], ...], Field(min_length=1)] = (
        "fp32",
        "int8",
    )
    """Precisions in which each student is measured."""

    over: dict[str, Annotated[tuple[Varied, ...], Field(min_length=1)]] = Field(
        default_factory=dict
    )
    """Settings that are varied, by their full names, each with its values, as in
    ``"teacher.adapter.bottleneck_size" = [16, 64]``. Every combination is made, at every number of
    layers. The config's own values are always included."""

    distill: SmallerDistillConfig = SmallerDistillConfig()
    """Distillation of the students that lack layers; one of full depth keeps `distill`."""

    blocks: int = Field(default=10, ge=3)
    """Blocks of the timing of all files; each block has fresh sessions."""

    seconds: float = Field(default=180.0, gt=0)
    """Time for the timing, in seconds. No new block starts later, once three blocks are done."""
