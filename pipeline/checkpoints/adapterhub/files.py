"""The files of an AdapterHub folder: read without executing anything, and checked."""

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from transformers import PreTrainedModel

from pipeline.errors import InputError


class Shaped(Protocol):
    """What is known of a tensor that is expected."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its size in each dimension."""
        ...


def check_backbone(folder: Path, meta: Mapping[str, Any], model: PreTrainedModel) -> None:
    """Refuse a checkpoint that says that it belongs to another backbone."""
    own = {"model_type": model.config.model_type, "hidden_size": model.config.hidden_size}
    wrong = [
        f"{key} {meta[key]!r}, the backbone's is {value!r}"
        for key, value in own.items()
        if meta.get(key) not in (None, value)
    ]
    if wrong:
        raise InputError(
            f"{folder} belongs to another backbone: it says {'; '.join(wrong)}. Give the backbone "
            f"that it was trained in ({meta.get('model_name', 'its config does not say which')})."
        )


def check_tensors(
    folder: Path, found: Mapping[str, Tensor], expected: Mapping[str, Shaped]
) -> None:
    """Refuse tensors that are not exactly the expected ones: all that is wrong, at once."""
    problems = [f"missing {name}" for name in sorted(expected.keys() - found.keys())]
    problems += [f"unknown {name}" for name in sorted(found.keys() - expected.keys())]
    problems += [
        f"{name} is {tuple(found[name].shape)}, expected {tuple(place.shape)}"
        for name, place in expected.items()
        if name in found and tuple(found[name].shape) != tuple(place.shape)
    ]
    problems += [
        f"{name} has values that are not finite"
        for name, tensor in found.items()
        if not tensor.isfinite().all()
    ]
    if problems:
        more = f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise InputError(
            f"The tensors in {folder} are not those of this adapter on this backbone: "
            f"{'; '.join(problems[:5])}{more}. Save the adapter again, or check the backbone."
        )


def read_tensors(folder: Path, names: tuple[str, ...]) -> dict[str, Tensor]:
    """Return the tensors in the first of these files that there is; nothing in it is executed."""
    path = next((folder / name for name in names if (folder / name).is_file()), None)
    if path is None:
        raise InputError(f"{folder} has no tensors: expected {' or '.join(names)}.")
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path} holds more than tensors, and what it holds would be executed: refused. Get "
            "the adapter from a source that you trust, as safetensors."
        ) from error
    except (SafetensorError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read: it is damaged or cut off "
            f"({str(error).splitlines()[0]}). Copy it again."
        ) from error
    if not isinstance(tensors, dict) or not all(isinstance(t, Tensor) for t in tensors.values()):
        raise InputError(f"{path} does not hold named tensors.")
    return tensors


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file of a checkpoint."""
    if not path.is_file():
        raise InputError(
            f"{path.parent} is not an AdapterHub checkpoint: it has no {path.name}. Give the "
            "folder that the adapters library wrote."
        )
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} holds no JSON object.")
    return content
