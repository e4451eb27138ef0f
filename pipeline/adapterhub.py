"""AdapterHub checkpoints: the folders that the ``adapters`` library reads and writes.

One folder an adapter: ``adapter_config.json`` and the tensors, ``pytorch_adapter.bin`` or
``adapter.safetensors``. What the library loads without a word (missing layers, tensors that it does
not know, an adapter of another architecture) is refused here. A ``.bin`` is unpickled as weights
only: nothing in it is executed. Format: https://docs.adapterhub.ml and what the library's version
1.3.0 writes.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel

from models.adapters import add_adapter, add_fusion, site_of
from models.architectures import Architecture, Position
from models.composition import Fuse, FusionSettings, module_name
from models.site import AdapterSettings
from pipeline.adapterhub_config import config_of, settings_of
from pipeline.adapterhub_files import check_backbone, check_tensors, read_json, read_tensors
from pipeline.errors import InputError

ADAPTER_CONFIG = "adapter_config.json"
FUSION_CONFIG = "adapter_fusion_config.json"
_ADAPTER_FILES = ("adapter.safetensors", "pytorch_adapter.bin")
_FUSION_FILES = ("model_adapter_fusion.safetensors", "pytorch_model_adapter_fusion.bin")

_SITES: dict[str, dict[Position, str]] = {
    "distilbert": {"attention": "attention_adapters", "ffn": "output_adapters"},
}
"""Where in a layer the library keeps its adapters, by ``model_type``."""
_USUAL_SITES: dict[Position, str] = {"attention": "attention.output", "ffn": "output"}

_OLD_NAMES = {
    r"\.(attention|layer)_text_(task|lang)_adapters\.": ".adapters.",
    r"(^|\.)invertible_lang_adapters\.": r"\1invertible_adapters.",
}
"""Names that the library's first version gave its modules."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HubAdapter:
    """An adapter as its folder tells it, before it meets a backbone."""

    name: str
    settings: AdapterSettings
    tensors: dict[str, Tensor]
    folder: Path


def read_adapter(folder: Path, model: PreTrainedModel) -> HubAdapter:
    """Return the adapter in a folder.

    Args:
        folder: What the library's ``save_adapter`` wrote.
        model: The backbone that it is for, with or without a head.

    Raises:
        InputError: when it is not a bottleneck adapter, is damaged, or belongs to another
            architecture or hidden size.
    """
    meta = read_json(folder / ADAPTER_CONFIG)
    if "peft_type" in meta:
        raise InputError(
            f"{folder} is a checkpoint of PEFT ({meta['peft_type']}), not of AdapterHub: PEFT has "
            "no bottleneck adapters. Merge it into its model with PEFT, and give that model."
        )
    if "config" not in meta or "name" not in meta:
        raise InputError(
            f"{folder / ADAPTER_CONFIG} is not AdapterHub's: expected the keys config and name, "
            f"found {', '.join(sorted(meta)) or 'none'}."
        )
    check_backbone(folder, meta, model)
    config = config_of(folder, meta)
    return HubAdapter(
        name=str(meta["name"]),
        settings=settings_of(folder, config, int(model.config.hidden_size)),
        tensors=read_tensors(folder, _ADAPTER_FILES),
        folder=folder,
    )


def load_adapter(
    adapter: HubAdapter, model: PreTrainedModel, architecture: Architecture, *, name: str
) -> None:
    """Hang an adapter in a backbone, in place, under a name; it is not active yet.

    Raises:
        InputError: when tensors are missing, unknown, or of another shape; nothing is hung then.
    """
    found = _with_prefix(_renamed(adapter.tensors), model)
    expected = _expected_tensors(adapter.name, adapter.settings, model, architecture)
    if adapter.settings.form.norm_before:
        _drop_copies(found)
    check_tensors(adapter.folder, found, expected)
    add_adapter(model.base_model, architecture, name, adapter.settings)
    with torch.no_grad():
        for key, place in expected.items():
            place.find(name).copy_(found[key])


def load_fusion(folder: Path, model: PreTrainedModel, architecture: Architecture) -> Fuse:
    """Give a backbone the AdapterFusion layers in a folder; return the composition.

    Args:
        folder: What the library's ``save_adapter_fusion`` wrote.
        model: It has the fused adapters already.
        architecture: Where its sites are.

    Raises:
        InputError: when it is damaged, or fuses adapters that the backbone does not have.
    """
    settings = read_fusion_settings(folder)
    meta = read_json(folder / FUSION_CONFIG)
    check_backbone(folder, meta, model)
    composition = Fuse(tuple(meta["adapter_names"]))
    found = _with_prefix(_renamed(read_tensors(folder, _FUSION_FILES)), model)
    add_fusion(model.base_model, composition, settings)
    expected: dict[str, Tensor] = {}
    for number, position, place in _places(model, architecture):
        site = site_of(architecture.layers(model.base_model)[number], architecture, position)
        fusions = {} if site is None else dict(site.fusions)
        if module_name(composition) in fusions:
            prefix = f"{place}.adapter_fusion_layer.{meta['name']}"
            fusion = fusions[module_name(composition)]
            expected |= {f"{prefix}.{key}": p for key, p in fusion.named_parameters()}
    check_tensors(folder, found, expected)
    with torch.no_grad():
        for key, parameter in expected.items():
            parameter.copy_(found[key])
    return composition


def read_fusion_settings(folder: Path) -> FusionSettings:
    """Return the settings of the AdapterFusion layers in a folder.

    Raises:
        InputError: when there are none, or they are not supported.
    """
    meta = read_json(folder / FUSION_CONFIG)
    if not {"config", "name", "adapter_names"} <= meta.keys():
        raise InputError(f"{folder / FUSION_CONFIG} does not describe an AdapterFusion layer.")
    config = meta["config"]
    if config.get("temperature"):
        raise InputError(f"{folder}: an AdapterFusion with a temperature is not supported.")
    return FusionSettings(
        query=config.get("query", True),
        key=config.get("key", True),
        value=config.get("value", True),
        query_before_norm=config.get("query_before_ln", False),
        residual_before=config.get("residual_before", False),
        value_before_softmax=config.get("value_before_softmax", True),
    )


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a tensor of a checkpoint goes."""

    shape: tuple[int, ...]
    find: Callable[[str], Tensor]
    """The name of the adapter in the backbone -> its parameter there."""


def _expected_tensors(
    hub_name: str, settings: AdapterSettings, model: PreTrainedModel, architecture: Architecture
) -> dict[str, _Place]:
    """Return the tensors that a checkpoint of these settings holds, by the library's names."""
    # A backbone of the same shape without weights tells names and shapes.
    with torch.device("meta"):
        bare = type(model)(model.config)
        add_adapter(bare.base_model, architecture, "adapter", settings)
    expected: dict[str, _Place] = {}
    for number, position, place in _places(bare, architecture):
        site = site_of(architecture.layers(bare.base_model)[number], architecture, position)
        if site is None or "adapter" not in site.adapters:
            continue
        for own, parameter in site.adapters["adapter"].named_parameters():

            def find(
                name: str, number: int = number, position: Position = position, own: str = own
            ) -> Tensor:
                layer = architecture.layers(model.base_model)[number]
                there = site_of(layer, architecture, position)
                if there is None:
                    raise RuntimeError("the site is gone")
                return there.adapters[name].get_parameter(own)

            key = _hub_key(own, settings)
            whole = (
                f"{model.base_model_prefix}.shared_parameters.{hub_name}.phm_rule"
                if own == "rule"
                else f"{place}.adapters.{hub_name}.{key}"
            )
            expected[whole] = _Place(tuple(parameter.shape), find)
    return expected


def _hub_key(own: str, settings: AdapterSettings) -> str:
    """Return the library's name of a parameter of one adapter."""
    down = "adapter_down.1" if settings.form.norm_before else "adapter_down.0"
    renamed = re.sub(r"^down\.", f"{down}.", own)
    renamed = re.sub(r"^up\.", "adapter_up.", renamed)
    renamed = re.sub(r"^norm_", "adapter_norm_", renamed)
    if settings.form.kronecker_factors is not None:
        for plain, hub in (("left", "W_left"), ("right", "W_right"), ("bias", "b")):
            renamed = re.sub(rf"(adapter_(?:down\.\d|up))\.{plain}$", rf"\1.{hub}", renamed)
    return renamed


def _places(
    model: PreTrainedModel, architecture: Architecture
) -> Iterator[tuple[int, Position, str]]:
    """Yield (layer, half, the library's name of the module that holds its adapters)."""
    sites = _SITES.get(model.config.model_type, _USUAL_SITES)
    for number in range(len(architecture.layers(model.base_model))):
        for position, path in sites.items():
            prefix = f"{model.base_model_prefix}.{architecture.layer_list}"
            yield number, position, f"{prefix}.{number}.{path}"


def _renamed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    renamed = {}
    for name, tensor in tensors.items():
        for old, new in _OLD_NAMES.items():
            name = re.sub(old, new, name)
        renamed[name] = tensor
    return renamed


def _with_prefix(tensors: Mapping[str, Tensor], model: PreTrainedModel) -> dict[str, Tensor]:
    """Return the tensors under the names that a model with a head gives them."""
    prefix = f"{model.base_model_prefix}."
    return {
        name if name.startswith(prefix) else f"{prefix}{name}": tensor
        for name, tensor in tensors.items()
    }


def _drop_copies(tensors: dict[str, Tensor]) -> None:
    """Remove the second copy that the library writes of an adapter's first LayerNorm."""
    for name in [name for name in tensors if ".adapter_norm_before." in name]:
        copy = name.replace(".adapter_norm_before.", ".adapter_down.0.")
        if copy in tensors and torch.equal(tensors[copy], tensors[name]):
            del tensors[copy]
