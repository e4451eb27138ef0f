"""A backbone and its adapters: trained ones, or ones that there are already."""

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Discriminator, Field, Tag, model_validator

from pipeline.config.section import Section


class AdapterConfig(Section):
    """The bottleneck adapters that are trained inside the frozen backbone."""

    kind: Literal["houlsby", "pfeiffer", "parallel"] = "houlsby"
    """``houlsby``: after attention and after the FFN; ``pfeiffer``: after the FFN;
    ``parallel``: beside the FFN."""

    bottleneck_size: int = Field(default=64, ge=1)
    """Width of the bottleneck, in units."""

    activation: Literal["relu", "gelu", "silu", "linear"] = "relu"
    """Non-linearity between the projections. ``linear``: none; a linear adapter folds exactly."""

    initialisation: Literal["zero_up", "small"] = "zero_up"
    """``zero_up``: a new adapter is exactly the identity; ``small``: normal with std 0.01."""

    scaling: float = Field(default=1.0, gt=0)
    """Factor on the adapter's output before the residual sum."""

    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout probability on the bottleneck's units while training."""

    drop_layers: int = Field(default=0, ge=0)
    """The first so many layers have no adapters (AdapterDrop): they cost nothing there, and are
    trained faster."""

    random_drop: int = Field(default=0, ge=0)
    """Each training step does without the adapters of the first n layers, with n drawn from 0 to
    this: the adapters then work with any number of layers dropped."""


class AdapterSource(Section):
    """Adapters that there are already, instead of ones that this run trains."""

    model_config = ConfigDict(serialize_by_alias=True)

    from_: dict[str, str] | tuple[str, ...] | str = Field(alias="from", min_length=1)
    """Teachers of earlier runs (``runs/latest/finetune``) or AdapterHub checkpoints: a path,
    ``package://name/folder`` or a Hugging Face id. Several for a composition, as a list, or by
    names of your choice. One of them has the head, unless it is trained; a single one may be a
    composition itself."""

    together: Literal["stack", "average", "weigh", "fuse"] | None = None
    """How several adapters work together. ``stack``: one after the other; ``average``: their mean.
    ``weigh`` (weights that are learned) and ``fuse`` (AdapterFusion) are trained by this run, with
    the settings of ``fuse``: their weights and a head, not the adapters."""

    drop_layers: int = Field(default=0, ge=0)
    """The adapters of the first so many layers are left out (AdapterDrop)."""

    fusion: str | None = None
    """The same kind of reference to the AdapterFusion over several adapters."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.together is not None and self.fusion is not None:
            raise ValueError("together and fusion exclude each other: give one of them")
        if len(self.references) > 1 and self.together is None and self.fusion is None:
            raise ValueError(
                "several adapters: say how they work together, with together = 'stack', "
                "'average', 'weigh' or 'fuse', or with fusion"
            )
        if self.together is not None and len(self.references) == 1:
            raise ValueError(f"together = '{self.together}' needs several adapters, found one")
        return self

    @property
    def references(self) -> tuple[str, ...]:
        """The folders, one an adapter."""
        if isinstance(self.from_, str):
            return (self.from_,)
        return tuple(self.from_.values()) if isinstance(self.from_, dict) else self.from_

    @property
    def names(self) -> tuple[str, ...] | None:
        """The adapters' names, where they are given."""
        return tuple(self.from_) if isinstance(self.from_, dict) else None

    @property
    def trained_as(self) -> Literal["weigh", "fuse"] | None:
        """How the adapters' composition is trained; None where nothing is."""
        return self.together if self.together in ("weigh", "fuse") else None


def _adapter_kind(value: object) -> str:
    imported = "from" in value if isinstance(value, dict) else isinstance(value, AdapterSource)
    return "imported" if imported else "trained"


def _any_of(schema: dict[str, Any]) -> None:
    """Let a form offer the choice: forms know anyOf, and not pydantic's oneOf."""
    schema["anyOf"] = schema.pop("oneOf")


AdapterChoice = Annotated[
    Annotated[AdapterConfig, Tag("trained")] | Annotated[AdapterSource, Tag("imported")],
    Discriminator(_adapter_kind),
]
"""Adapters that are trained, or, with the key ``from``, imported ones."""


class ModelConfig(Section):
    """A pretrained transformer."""

    model: str
    """Hugging Face id, path of a folder, or ``package://name/folder``."""

    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    """Expected sha256 of the weights; checked when given."""


class TeacherConfig(ModelConfig):
    """The backbone and its adapters."""

    adapter: AdapterChoice = Field(default=AdapterConfig(), json_schema_extra=_any_of)
    """The adapters: trained by this run, or with ``from`` those that were trained elsewhere."""

    start: str | None = None
    """Folder of a trained teacher, such as ``runs/latest/finetune``: its adapters and head are the
    start. It must have the same adapters, labels and backbone."""
