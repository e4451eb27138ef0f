"""AdapterHub checkpoints: the folders that the ``adapters`` library reads and writes.

One folder an adapter: ``adapter_config.json`` and the tensors, ``pytorch_adapter.bin`` or
``adapter.safetensors``. Missing layers, unknown tensors and adapters of another architecture are
refused here, while the library loads them silently. A ``.bin`` is unpickled as weights only:
nothing in it is executed. Format: https://docs.adapterhub.ml and what the library's version 1.3.0
writes.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel

from models.adapters.composition import Fuse, FusionSettings, module_name
from models.adapters.hooks import add_adapter, add_fusion
from models.adapters.site import AdapterSettings
from models.architectures.architecture import Architecture
from pipeline.checkpoints.adapterhub.config import config_of, hub_settings
from pipeline.checkpoints.adapterhub.contents import (
    check_backbone,
    check_hub_tensors,
    read_config,
    read_tensors,
    without_strangers,
)
from pipeline.checkpoints.adapterhub.hub_names import (
    adapter_parameters,
    copies_of_norms,
    fusion_parameters,
    with_present_names,
)
from pipeline.checkpoints.adapterhub.schema import (
    ADAPTER_FILE,
    FUSION_FILE,
    AdapterFile,
    FusionFile,
)
from pipeline.checkpoints.pretrained import find_architecture
from pipeline.errors import InputError, refusing

ADAPTER_CONFIG = "adapter_config.json"
FUSION_CONFIG = "adapter_fusion_config.json"
ADAPTER_FILES = ("adapter.safetensors", "pytorch_adapter.bin")
FUSION_FILES = ("model_adapter_fusion.safetensors", "pytorch_model_adapter_fusion.bin")


@dataclass(frozen=True, kw_only=True, slots=True)
class HubAdapter:
    """An adapter as its folder tells it, before it meets a backbone."""

    name: str
    settings: AdapterSettings
    tensors: dict[str, Tensor]
    folder: Path


def read_name(folder: Path) -> str:
    """Return the name of the adapter in a folder.

    Raises:
        InputError: when it holds no adapter of AdapterHub.
    """
    return str(_read_meta(folder)["name"])


def read_adapter(folder: Path, model: PreTrainedModel) -> HubAdapter:
    """Return the adapter in a folder.

    Args:
        folder: What the library's ``save_adapter`` wrote.
        model: The backbone that it is for, with or without a head.

    Raises:
        InputError: when it is not a bottleneck adapter, is damaged, or belongs to another
            architecture or hidden size.
    """
    meta = _read_meta(folder)
    check_backbone(folder, meta, model)
    config = config_of(folder, meta)
    tensors = with_present_names(read_tensors(folder, ADAPTER_FILES), model)
    tensors = without_strangers(folder, tensors, "adapter", str(meta["name"]))
    # The first version's task adapters declare an invertible adapter that they do not have.
    if meta.get("type") == "text_task" and not any(".F.0." in name for name in tensors):
        config["inv_adapter"] = None
    settings = hub_settings(folder, config, int(model.config.hidden_size))
    if model.config.model_type == "albert" and settings.attention:
        # The library hands over attention's input and output the wrong way round.
        raise InputError(
            f"{folder}: the library's ALBERT gives adapters after attention its input instead of "
            "its output. Such adapters (mh_adapter) are not supported there."
        )
    if find_architecture(model).norm_first:
        settings = _for_norm_first(settings)
    return HubAdapter(
        name=str(meta["name"]),
        settings=settings,
        tensors=tensors,
        folder=folder,
    )


def _for_norm_first(settings: AdapterSettings) -> AdapterSettings:
    """Return what settings mean in pre-LN layers, where the library has no LayerNorm to use.

    A parallel adapter sees what is added afterwards there. One behind the LayerNorm, whose residual
    is the sum already, is one whose residual is the output.
    """
    if settings.sees == "input":
        return replace(settings, sees="stream")
    if settings.after_norm:
        return replace(settings, sees="normalised", residual="output", after_norm=False)
    return settings


def load_adapter(
    adapter: HubAdapter, model: PreTrainedModel, architecture: Architecture, *, name: str
) -> None:
    """Attach an adapter to a backbone, in place, under a name; it is not active yet.

    Raises:
        InputError: when tensors are missing, unknown, or of another shape, or the backbone has no
            place for them; nothing is hung then.
    """
    # A backbone of the same shape without weights tells names and shapes.
    with torch.device("meta"):
        bare = type(model)(model.config)
    with refusing(
        f"{adapter.folder} does not fit the backbone",
        "Give the backbone that it was trained in, or save the adapter again.",
    ):
        add_adapter(bare.base_model, architecture, name, adapter.settings)
    expected = adapter_parameters(bare, architecture, name, hub_name=adapter.name)
    copies = copies_of_norms(expected)
    found = {
        key: tensor
        for key, tensor in adapter.tensors.items()
        if key not in copies or not torch.equal(tensor, adapter.tensors.get(copies[key], tensor))
    }
    check_hub_tensors(adapter.folder, found, expected)
    add_adapter(model.base_model, architecture, name, adapter.settings)
    placed = adapter_parameters(model, architecture, name, hub_name=adapter.name)
    with torch.no_grad():
        for key, parameter in placed.items():
            parameter.copy_(found[key])


def load_fusion(folder: Path, model: PreTrainedModel, architecture: Architecture) -> Fuse:
    """Give a backbone the AdapterFusion layers in a folder; return the composition.

    Args:
        folder: What the library's ``save_adapter_fusion`` wrote.
        model: It has the fused adapters already.
        architecture: Where its sites are.

    Raises:
        InputError: when it is damaged, or fuses adapters that the backbone does not have.
    """
    settings, composition = read_fusion_settings(folder), read_fusion(folder)
    meta = _read_fusion_meta(folder)
    check_backbone(folder, meta, model)
    found = with_present_names(read_tensors(folder, FUSION_FILES), model)
    found = without_strangers(folder, found, "fusion", meta["name"])
    add_fusion(model.base_model, composition, settings)
    expected = fusion_parameters(
        model, architecture, module_name(composition), hub_name=meta["name"]
    )
    check_hub_tensors(folder, found, expected)
    with torch.no_grad():
        for key, parameter in expected.items():
            parameter.copy_(found[key])
    return composition


def read_fusion(folder: Path) -> Fuse:
    """Return which adapters the AdapterFusion in a folder fuses."""
    return Fuse(tuple(_read_fusion_meta(folder)["adapter_names"]))


def read_fusion_settings(folder: Path) -> FusionSettings:
    """Return the settings of the AdapterFusion layers in a folder.

    Raises:
        InputError: when there are none, or they are not supported.
    """
    config = _read_fusion_meta(folder)["config"]
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


def _read_meta(folder: Path) -> AdapterFile:
    meta = read_config(folder / ADAPTER_CONFIG, ADAPTER_FILE)
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
    return meta


def _read_fusion_meta(folder: Path) -> FusionFile:
    return read_config(folder / FUSION_CONFIG, FUSION_FILE)
