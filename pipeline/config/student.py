"""The student's shape, and its start in closed form."""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from pipeline.config.section import Section
from pipeline.config.teacher import ModelConfig

LayerNumbers = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]


class StudentConfig(Section):
    """The adapter-free model that ships."""

    layers: LayerNumbers | None = None
    """Numbers of the backbone layers to keep, from 0; all by default."""

    model: ModelConfig | None = None
    """Another pretrained model instead of the teacher's backbone."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.layers is not None and self.model is not None:
            raise ValueError("layers and model exclude each other: give one of them")
        return self

    @field_validator("layers")
    @classmethod
    def _check_layers(cls, value: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if value is not None and list(value) != sorted(set(value)):
            raise ValueError("expected increasing layer numbers")
        return value


class AbsorbConfig(Section):
    """Moving the adapters into the student's own weights in closed form."""

    enabled: bool = True
    """Start the student from the absorbed adapters rather than from the plain backbone."""

    texts: int = Field(default=4000, ge=8)
    """Most texts to fit on: training texts without their labels, then unlabelled ones."""

    exact: Literal["never", "free", "always"] = "free"
    """Whether adapters are folded exactly, where an exact fold exists. ``free``: only where the FFN
    need not grow, that is, for linear adapters. ``always``: also for parallel adapters with the
    FFN's activation, which make the FFN wider."""

    weigh_tokens: bool = True
    """Whether tokens that the teacher's answers depend on most are fitted best. The student comes
    closer, for a forward and a backward pass of the teacher."""

    extra_units: int = Field(default=0, ge=0)
    """Units that every FFN of the student gains, fitted to what the regressions leave over. With
    48 units, an FFN of 1,536 becomes 3 % larger."""

    add_biases: bool = True
    """Give the student's dense layers biases, where the backbone has none and the architecture
    allows them (ModernBERT, Llama, Qwen3). They take over the adapters' own biases, and cost one
    addition per layer."""

    held_out: float = Field(default=0.1, gt=0, lt=0.5)
    """Fraction of the texts that is held out to choose the ridge strength."""

    batch_size: int = Field(default=32, ge=1)
    """Texts per forward pass."""
