"""The student's shape, and its start in closed form."""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from pipeline.config.section import Section
from pipeline.config.teacher import ModelConfig

LayerNumbers = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]


class StudentConfig(Section):
    """The adapter-free model that ships."""

    layers: LayerNumbers | None = None
    """Backbone layers to keep, from 0; all by default."""

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
    """Training texts (without their labels), and then unlabelled ones, to fit on."""

    exact: Literal["never", "free", "always"] = "free"
    """Fold adapters exactly instead, where an exact fold exists: ``free`` only where it needs no
    wider FFN (linear adapters), ``always`` also where it does (parallel ones with the FFN's
    activation)."""

    weigh_tokens: bool = True
    """Fit those tokens best that the teacher's answers feel most. It brings the student closer, and
    costs a forward and a backward pass of the teacher."""

    extra_units: int = Field(default=0, ge=0)
    """Units that every FFN of the student gains, fitted to what the regressions leave over. They
    cost what they add: 48 on 1,536 make the FFN 3 % larger."""

    add_biases: bool = True
    """Give the student's dense layers biases where its architecture has a setting for them and the
    backbone has none (ModernBERT, Llama, Qwen3): they take what the adapters' own biases do. They
    cost one addition a layer."""

    held_out: float = Field(default=0.1, gt=0, lt=0.5)
    """Part of those texts on which the ridge strength is chosen."""

    batch_size: int = Field(default=32, ge=1)
    """Texts per forward pass."""
