"""The JSON files of an AdapterHub folder: the keys that are read, and the types of their values.

Other keys are passed over. The meaning of the values is in config.py, head.py and setup.py.
"""

from typing import Annotated, Any, Literal, NotRequired

from pydantic import ConfigDict, Field, StringConstraints, TypeAdapter, with_config
from typing_extensions import TypedDict  # pydantic wants this one before Python 3.12

_OTHER_KEYS = ConfigDict(extra="allow")
_Factor = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Layer = Annotated[str, StringConstraints(pattern=r"^(\d+|default)$")]
_Labels = dict[str, int]


@with_config(_OTHER_KEYS)
class OldInvertible(TypedDict):
    """An invertible adapter, as version 1 describes it."""

    block_type: str
    reduction_factor: _Factor


@with_config(_OTHER_KEYS)
class BottleneckKeys(TypedDict, total=False):
    """The configuration of a bottleneck adapter; keys that are left out have defaults."""

    mh_adapter: bool
    output_adapter: bool
    reduction_factor: _Factor | dict[_Layer, _Factor]
    non_linearity: str
    original_ln_before: bool
    original_ln_after: bool
    ln_before: bool
    ln_after: bool
    is_parallel: bool
    scaling: float | Literal["learned", "channel"]
    use_gating: bool
    residual_before_ln: bool | Literal["post_add"]
    adapter_residual_before_ln: bool
    inv_adapter: str | None
    inv_adapter_reduction_factor: _Factor | None
    invertible_adapter: OldInvertible | None
    cross_adapter: bool
    leave_out: tuple[int, ...]
    phm_layer: bool
    phm_dim: Annotated[int, Field(ge=1)]
    phm_rank: Annotated[int, Field(ge=1)]
    factorized_phm_W: bool
    factorized_phm_rule: bool
    shared_W_phm: bool
    shared_phm_rule: bool
    phm_bias: bool
    dropout: Annotated[float, Field(ge=0, le=1)]


@with_config(_OTHER_KEYS)
class AdapterFile(TypedDict, total=False):
    """``adapter_config.json``; PEFT's file of that name has neither config nor name."""

    config: dict[str, Any] | str
    name: str
    version: Any
    type: Any
    model_type: Any
    model_name: Any
    hidden_size: Any
    peft_type: Any


@with_config(_OTHER_KEYS)
class FusionKeys(TypedDict, total=False):
    """The configuration of an AdapterFusion layer."""

    query: bool
    key: bool
    value: bool
    query_before_ln: bool
    residual_before: bool
    value_before_softmax: bool
    temperature: float | None


@with_config(_OTHER_KEYS)
class FusionFile(TypedDict):
    """``adapter_fusion_config.json``."""

    config: FusionKeys
    name: str
    adapter_names: Annotated[tuple[str, ...], Field(min_length=1)]
    model_type: NotRequired[Any]
    model_name: NotRequired[Any]
    hidden_size: NotRequired[Any]


@with_config(_OTHER_KEYS)
class HeadKeys(TypedDict, total=False):
    """The configuration of one of the library's own (flexible) heads."""

    head_type: str | None
    layers: int | None
    use_pooler: bool | None
    activation_function: str | None
    label2id: _Labels | None


@with_config(_OTHER_KEYS)
class HeadFile(TypedDict, total=False):
    """``head_config.json``; a stock (static) head has no config, and its labels beside it."""

    config: HeadKeys | None
    name: str | None
    model_class: str | None
    label2id: _Labels | None


@with_config(_OTHER_KEYS)
class SetupFile(TypedDict):
    """``adapter_setup.json``."""

    adapter_setup: dict[str, Any]
    head_setup: NotRequired[Any]


BOTTLENECK_KEYS = TypeAdapter(BottleneckKeys)
ADAPTER_FILE = TypeAdapter(AdapterFile)
FUSION_FILE = TypeAdapter(FusionFile)
HEAD_FILE = TypeAdapter(HeadFile)
SETUP_FILE = TypeAdapter(SetupFile)
