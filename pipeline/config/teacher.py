"""A backbone and its adapters, which are trained by the run or exist already."""

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Discriminator, Field, Tag, model_validator

from pipeline.config.section import Section, offer_choice


class AdapterConfig(Section):
    """The bottleneck adapters that are trained inside the frozen backbone."""

    kind: Literal["houlsby", "pfeiffer", "parallel"] = "houlsby"
    """Place of the adapters. ``houlsby``: after attention and after the FFN. ``pfeiffer``: after
    the FFN. ``parallel``: beside the FFN."""

    bottleneck_size: int = Field(default=64, ge=1)
    """Width of the bottleneck, in units."""

    activation: Literal["relu", "gelu", "silu", "linear"] = "relu"
    """Activation between the projections. A ``linear`` adapter has none, and folds exactly."""

    initialisation: Literal["zero_up", "small"] = "zero_up"
    """Start of a new adapter. ``zero_up``: exactly the identity. ``small``: normal with std
    0.01."""

    scaling: float = Field(default=1.0, gt=0)
    """Factor on the adapter's output before the residual sum."""

    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout probability on the bottleneck's units while training."""

    drop_layers: int = Field(default=0, ge=0)
    """Number of lower layers without adapters (AdapterDrop). They cost nothing there, and training
    is faster."""

    random_drop: int = Field(default=0, ge=0)
    """Most lower layers whose adapters a training step leaves out; the number is drawn anew for
    each step. The adapters then tolerate the loss of any number of layers up to this."""


class AdapterSource(Section):
    """Existing adapters, instead of adapters that this run trains."""

    model_config = ConfigDict(serialize_by_alias=True)

    from_: dict[str, str] | tuple[str, ...] | str = Field(alias="from", min_length=1)
    """Existing adapters: teachers of earlier runs (``runs/latest/finetune``) or AdapterHub
    checkpoints. Each is a path, ``package://name/folder`` or a Hugging Face id. Several make a
    composition, as a list or by names of your choice. One of them has the head, unless this run
    trains it. A single one may be a composition itself."""

    together: Literal["stack", "average", "weigh", "fuse"] | None = None
    """Composition of several adapters. ``stack``: one after the other. ``average``: their mean.
    ``weigh``: a mean with learned weights. ``fuse``: AdapterFusion. This run trains the last two
    and a head, with the settings of ``fuse``; the adapters stay as they are."""

    drop_layers: int = Field(default=0, ge=0)
    """Number of lower layers whose adapters are left out (AdapterDrop)."""

    fusion: str | None = None
    """AdapterFusion over several adapters: a path, package reference or Hugging Face id."""

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
        """The folders, one per adapter."""
        if isinstance(self.from_, str):
            return (self.from_,)
        return tuple(self.from_.values()) if isinstance(self.from_, dict) else self.from_

    @property
    def names(self) -> tuple[str, ...] | None:
        """The adapters' names, where they are given."""
        return tuple(self.from_) if isinstance(self.from_, dict) else None

    @property
    def trained_as(self) -> Literal["weigh", "fuse"] | None:
        """Kind of composition that this run trains; None where it trains none."""
        return self.together if self.together in ("weigh", "fuse") else None


def _adapter_kind(value: object) -> str:
    imported = "from" in value if isinstance(value, dict) else isinstance(value, AdapterSource)
    return "imported" if imported else "trained"


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
    """Expected sha256 of the weights, which is checked if given."""


class TeacherConfig(ModelConfig):
    """The backbone and its adapters."""

    adapter: AdapterChoice = Field(default=AdapterConfig(), json_schema_extra=offer_choice)
    """Adapters: trained by this run, or with ``from`` existing ones."""

    start: str | None = None
    """Folder of a trained teacher, such as ``runs/latest/finetune``, whose adapters and head are
    the start of the training. It must have the same adapters, labels and backbone."""
