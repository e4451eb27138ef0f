"""Named tensors on disk: read without executing anything, and held against what is expected."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import torch
from safetensors.torch import load_file
from torch import Tensor

from pipeline.errors import InputError, refusing

_SHOWN = 5
_FLOATING = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


class Shaped(Protocol):
    """Shape and kind of an expected tensor."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its size in each dimension."""
        ...


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors in a safetensors file, or in a ``.bin`` that holds nothing else.

    They are float32, whatever floating point type the file has.

    Raises:
        InputError: when the file is damaged, holds more than tensors, or numbers that are not
            finite or not floating point of at least 16 bits.
    """
    with refusing(f"{path} is damaged or cut off", "Copy it again."):
        tensors = _load(path)
    if not isinstance(tensors, dict) or not all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in tensors.items()
    ):
        raise InputError(f"{path} does not hold named tensors. Get it again, as safetensors.")
    problems = [
        f"{name} has values of the type {tensor.dtype}, expected floating point"
        for name, tensor in tensors.items()
        if tensor.dtype not in _FLOATING
    ]
    single = {n: tensor.float() for n, tensor in tensors.items() if tensor.dtype in _FLOATING}
    problems += [
        f"{name} has values that are not finite"
        for name, tensor in single.items()
        if not tensor.isfinite().all()
    ]
    if problems:
        raise InputError(f"{path} is damaged: {first_of(problems)}. Copy it again, or train anew.")
    return single


def check_tensors(
    place: Path, found: Mapping[str, Tensor], expected: Mapping[str, Shaped], *, advice: str
) -> None:
    """Refuse tensors that are not exactly the expected ones: all that is wrong, at once.

    Args:
        place: File or folder that they were read from.
        found: They themselves.
        expected: Tensors, or parameters, of the names and shapes that they must have.
        advice: A sentence that says what to do about others.

    Raises:
        InputError: naming missing, unknown and misshapen ones.
    """
    problems = [f"missing {name}" for name in sorted(expected.keys() - found.keys())]
    problems += [f"unknown {name}" for name in sorted(found.keys() - expected.keys())]
    problems += [
        f"{name} is {tuple(found[name].shape)}, expected {tuple(place.shape)}"
        for name, place in expected.items()
        if name in found and tuple(found[name].shape) != tuple(place.shape)
    ]
    if problems:
        raise InputError(
            f"The tensors in {place} are not the expected ones: {first_of(problems)}. {advice}"
        )


def first_of(problems: list[str]) -> str:
    """Return the first problems, and how many more there are."""
    more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
    return "; ".join(problems[:_SHOWN]) + more


def _load(path: Path) -> object:
    if path.suffix == ".safetensors":
        return load_file(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path} holds more than tensors, and what it holds would be executed: refused. Get "
            "it from a source that you trust, as safetensors."
        ) from error
