"""The smaller students that a sweep makes."""

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from pipeline.config.section import Section, offer_choice
from pipeline.config.student import LayerNumbers
from pipeline.config.training import DistillConfig

Depth = Annotated[int, Field(ge=1)]
Varied = bool | int | float | str | None
"""Value of a setting that a sweep varies."""


class VariedRange(Section):
    """Range of numbers, from which the trials of a sweep take the values of a setting."""

    low: int | float
    """Smallest value. Where both ends are written without a decimal point, all values are whole."""

    high: int | float
    """Largest value."""

    log: bool = False
    """Whether each power of ten is as likely as another, which suits learning rates."""

    @model_validator(mode="before")
    @classmethod
    def _check_keys(cls, given: Any) -> Any:
        if isinstance(given, dict) and {*given, "log"} != {"low", "high", "log"}:
            raise ValueError(
                f"a range is written as {{ low = 0.001, high = 0.1, log = true }}, found {given}"
            )
        return given

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low must be below high, found {self.low} and {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"log needs a low above 0, found {self.low}")
        return self

    @property
    def is_whole(self) -> bool:
        """Return whether all values are whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)


def _kind_of_values(given: object) -> str:
    return "range" if isinstance(given, dict | VariedRange) else "values"


VariedValues = Annotated[
    Annotated[tuple[Varied, ...], Field(min_length=1), Tag("values")]
    | Annotated[VariedRange, Tag("range")],
    Discriminator(_kind_of_values),
    Field(json_schema_extra=offer_choice),
]
"""Values that a sweep gives a setting: each by itself, or a range."""


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

    over: dict[str, VariedValues] = Field(default_factory=dict)
    """Settings that are varied, by their full names, each with its values, as in
    ``"teacher.adapter.bottleneck_size" = [16, 64]``. Every combination is made, at every number of
    layers. The config's own values are always included. With `sweep.trials`, a setting may have a
    range too, as in ``"finetune.learning_rate" = { low = 1e-4, high = 1e-2, log = true }``."""

    trials: int | None = Field(default=None, ge=1, le=10_000)
    """Number of combinations that are tried, beside the config's own; needs the extra ``optuna``.
    Optuna proposes each by the quality of those before. Without it, every combination is made."""

    prune: float = Field(default=0.5, ge=0, lt=1)
    """Part of the trials that is too far from the teacher after absorption, and ends there. Only
    finished trials with at least the trial's main metric count. With fewer than five of them, or a
    part of 0, none ends."""

    distill: SmallerDistillConfig = SmallerDistillConfig()
    """Distillation of the students that lack layers; one of full depth keeps `distill`."""

    blocks: int = Field(default=10, ge=3)
    """Blocks of the timing of all files; each block has fresh sessions."""

    seconds: float = Field(default=180.0, gt=0)
    """Time for the timing, in seconds. No new block starts later, once three blocks are done."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        ranges = [name for name, values in self.over.items() if isinstance(values, VariedRange)]
        if ranges and self.trials is None:
            raise ValueError(
                f"{ranges[0]} has a range in sweep.over, which holds more values than can be made. "
                "Set sweep.trials, or list values"
            )
        if self.trials is not None and not self.over:
            raise ValueError(
                f"sweep.trials asks for {self.trials} trials, and sweep.over names no setting. "
                "Name what is varied"
            )
        return self
