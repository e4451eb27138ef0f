"""Adapters, AdapterFusions and heads, written as the ``adapters`` library 1.3.0 writes them.

Tensors are written twice: as safetensors, and as the ``.bin`` that the library reads unless it is
told otherwise. The ``.bin`` holds tensors alone, which load as weights only.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel

from models.adapters.composition import Fuse, FusionSettings, module_name
from models.adapters.site import AdapterSettings
from models.architectures.architecture import Architecture
from pipeline.checkpoints.adapterhub.config import hub_config
from pipeline.checkpoints.adapterhub.head import HEAD_CONFIG, HEAD_FILES, hub_head
from pipeline.checkpoints.adapterhub.hub_names import (
    adapter_parameters,
    copies_of_norms,
    fusion_parameters,
)
from pipeline.checkpoints.adapterhub.reading import (
    ADAPTER_CONFIG,
    ADAPTER_FILES,
    FUSION_CONFIG,
    FUSION_FILES,
)
from pipeline.errors import InputError

VERSION = "adapters.1.3.0"
"""Version of the library whose format is written."""


def write_adapter(
    folder: Path,
    model: PreTrainedModel,
    architecture: Architecture,
    name: str,
    settings: AdapterSettings,
    *,
    model_name: str,
    hub_name: str | None = None,
) -> None:
    """Write one of a model's adapters to a folder, which is made where there is none.

    Args:
        folder: One adapter's.
        model: It has the adapter.
        architecture: Where its sites are.
        name: The adapter's name in the model.
        settings: The adapter's.
        model_name: What the backbone is called there.
        hub_name: What the adapter is called there; the same by default.

    Raises:
        InputError: when the format has no such adapter; nothing is written then.
    """
    if (architecture.norm_first and settings.sees == "input") or (
        model.config.model_type == "albert" and settings.attention
    ):
        raise InputError(
            f"AdapterHub's format has no adapter like {name!r} in a {model.config.model_type}. "
            "There its parallel adapters read the residual, not the input of the FFN. In ALBERT, "
            "adapters after attention read the input of attention."
        )
    config = hub_config(name, settings, int(model.config.hidden_size))
    hub_name = hub_name or name
    parameters = adapter_parameters(model, architecture, name, hub_name=hub_name)
    tensors: dict[str, Tensor] = dict(parameters)
    tensors |= {copy: parameters[own] for copy, own in copies_of_norms(parameters).items()}
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / ADAPTER_CONFIG, _meta(model, hub_name, model_name) | {"config": config})
    _write_tensors(folder, ADAPTER_FILES, tensors)


def write_fusion(
    folder: Path,
    model: PreTrainedModel,
    architecture: Architecture,
    fusion: Fuse,
    settings: FusionSettings,
    *,
    model_name: str,
) -> None:
    """Write the AdapterFusion over some of a model's adapters to a folder."""
    name = module_name(fusion)
    config = {
        "dropout_prob": None,
        "key": settings.key,
        "query": settings.query,
        "query_before_ln": settings.query_before_norm,
        "regularization": settings.value,
        "residual_before": settings.residual_before,
        "temperature": False,
        "value": settings.value,
        "value_before_softmax": settings.value_before_softmax,
        "value_initialized": settings.value,
    }
    meta = _meta(model, name, model_name) | {"adapter_names": list(fusion.children)}
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / FUSION_CONFIG, meta | {"config": config})
    parameters = fusion_parameters(model, architecture, name, hub_name=name)
    _write_tensors(folder, FUSION_FILES, parameters)


def write_head(
    folder: Path,
    model: PreTrainedModel,
    name: str,
    labels: tuple[str, ...],
    *,
    model_name: str,
    head_type: str = "classification",
) -> None:
    """Write a stock model's head to a folder, as one of the library's own (flexible) heads.

    A decoder's stays the stock one, which the library saves without a name (a static head).

    Raises:
        InputError: when the library has no head that computes the same; nothing is written then.
    """
    config, tensors = hub_head(model, name, head_type=head_type)
    meta: dict[str, Any] = _meta(model, name, model_name) | {"config": config}
    about = {
        "label2id": {label: number for number, label in enumerate(labels)},
        "num_labels": len(labels),
    }
    if config is None:
        meta |= {"name": None, "model_class": type(model).__name__, **about}
    else:
        meta["config"] = config | about
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / HEAD_CONFIG, meta)
    _write_tensors(folder, HEAD_FILES, tensors)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write an object as the library writes its configurations."""
    path.write_text(json.dumps(content, indent=2, sort_keys=True))


def _meta(model: PreTrainedModel, name: str, model_name: str) -> dict[str, Any]:
    stem = type(model.base_model).__name__.removesuffix("Model")
    return {
        "hidden_size": model.config.hidden_size,
        "model_class": f"{stem}AdapterModel",
        "model_name": model_name,
        "model_type": model.config.model_type,
        "name": name,
        "version": VERSION,
    }


def _write_tensors(folder: Path, names: tuple[str, str], tensors: Mapping[str, Tensor]) -> None:
    # Clones, because safetensors refuses two names of one memory.
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    safe, binary = names
    save_file(plain, folder / safe)
    torch.save(plain, folder / binary)
