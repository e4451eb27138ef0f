"""Heads that AdapterHub checkpoints were saved with, set into stock transformers classifiers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from pipeline.adapterhub_files import check_tensors, read_json, read_tensors
from pipeline.errors import InputError

_HEAD_CONFIG = "head_config.json"
_HEAD_FILES = ("model_head.safetensors", "pytorch_model_head.bin")
_HEADS = {
    "bert": ("bert.pooler.dense", "tanh", "classifier"),
    "roberta": ("classifier.dense", "tanh", "classifier.out_proj"),
    "xlm-roberta": ("classifier.dense", "tanh", "classifier.out_proj"),
    "distilbert": ("pre_classifier", "relu", "classifier"),
    "electra": ("classifier.dense", "gelu", "classifier.out_proj"),
    "deberta-v2": ("pooler.dense", "gelu", "classifier"),
}
"""By ``model_type``, what a stock classifier computes of the first token: a dense layer, an
activation, and the dense layer that gives the logits."""
_CLASSIFICATION = ("classification", "multilabel_classification")


def has_head(folder: Path) -> bool:
    """Tell whether an adapter was saved with a head."""
    return (folder / _HEAD_CONFIG).is_file()


def read_labels(folder: Path) -> tuple[str, ...]:
    """Return the names of a saved head's labels, in class order."""
    meta = read_json(folder / _HEAD_CONFIG)
    numbers = (meta.get("config") or meta).get("label2id") or {}
    return tuple(sorted(numbers, key=lambda name: int(numbers[name])))


def load_head(folder: Path, model: PreTrainedModel) -> None:
    """Set a stock model's head to the one that an adapter was saved with, in place.

    Args:
        folder: What the library's ``save_adapter`` wrote, of a static or a flexible head.
        model: A classifier of as many labels; for tagging, a token classifier.

    Raises:
        InputError: when the stock model's head computes something else, or tensors are missing,
            unknown or of another shape; nothing is set then.
    """
    meta = read_json(folder / _HEAD_CONFIG)
    tensors = read_tensors(folder, _HEAD_FILES)
    names: dict[str, str] = {}
    if meta.get("config"):
        names = _flexible_head(folder, meta, model)
        tensors = {names.get(name, name): tensor for name, tensor in tensors.items()}
    else:
        tensors = {
            name if _has(model, name) else f"{model.base_model_prefix}.{name}": tensor
            for name, tensor in tensors.items()
        }
    own = dict(model.named_parameters())
    expected = {name: own[name] for name in (*tensors, *names.values()) if name in own}
    # A head's last layer is there whatever else a checkpoint leaves out.
    expected |= {
        name: p for name, p in own.items() if name.split(".")[0] in ("classifier", "score")
    }
    check_tensors(folder, tensors, expected)
    with torch.no_grad():
        for name, parameter in expected.items():
            parameter.copy_(tensors[name])


def _flexible_head(folder: Path, meta: Mapping[str, Any], model: PreTrainedModel) -> dict[str, str]:
    """Return where the tensors of a head of the library's own go in a stock model."""
    config, prefix = meta["config"], f"heads.{meta['name']}"
    kind, layers = config.get("head_type"), config.get("layers")
    dense, activation, last = _HEADS.get(model.config.model_type, ("", "", "classifier"))
    if kind == "tagging" and layers == 1:
        places = {1: "classifier"}
    elif kind not in _CLASSIFICATION:
        raise InputError(
            f"{folder}: heads of the type {kind!r} are not supported; supported are "
            f"{', '.join((*_CLASSIFICATION, 'tagging'))}."
        )
    elif layers == 1 and config.get("use_pooler") and model.config.model_type == "bert":
        places = {1: last}
    elif layers == 2 and not config.get("use_pooler") and dense:
        own = config.get("activation_function")
        if own != activation:
            raise InputError(
                f"{folder}: this head's activation is {own!r}, and a stock "
                f"{model.config.model_type} classifier's is {activation!r}: they do not compute "
                f"the same. Save the adapter with a head whose activation is {activation!r}."
            )
        places = {1: dense, 4: last}
    else:
        raise InputError(
            f"{folder}: a head of {layers} layers (use_pooler = {config.get('use_pooler')}) has no "
            f"place in a stock {model.config.model_type} classifier."
        )
    return {
        f"{prefix}.{number}.{tensor}": f"{place}.{tensor}"
        for number, place in places.items()
        for tensor in ("weight", "bias")
    }


def _has(model: PreTrainedModel, name: str) -> bool:
    return any(name == own for own, _ in model.named_parameters())
