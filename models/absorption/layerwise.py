"""A model run layer by layer, with hidden states in memory in between, or on disk when large.

Shapes: B = texts of a batch, T = some tokens of a batch, D = hidden size, K - 1 = inputs of a dense
layer.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from transformers import BatchEncoding, PreTrainedModel

from models.architectures.architecture import Architecture


class _StopForwardError(Exception):
    """Ends a forward pass as soon as the wanted tensor is known."""


NEAR_BYTES = 0
"""Most bytes that one `Spill` keeps in memory without a GPU. The system caches its file anyway."""
_NEAR_PART_OF_GPU = 10
"""Divisor of a GPU's free memory; the quotient is what one `Spill` keeps on it."""


Key = int | tuple[int, object]
"""Number of a batch, with the name of the tensor where a batch has several."""


@dataclass(kw_only=True, slots=True)
class Run:
    """State of one batch in front of a layer."""

    hidden: Tensor  # (B, tokens, D)
    # Further inputs of each layer: masks, positions.
    arguments: dict[nn.Module, tuple[Sequence[Any], dict[str, Any]]]

    def through(self, layer: nn.Module) -> Tensor:
        """Run a layer; return its hidden states (B, tokens, D)."""
        arguments, keywords = self.arguments[layer]
        output = layer(self.hidden, *arguments, **keywords)
        hidden: Tensor = output[0] if isinstance(output, tuple) else output
        return hidden

    def attention(self, layer: nn.Module, stop: nn.Module) -> Tensor:
        """Run a layer up to a module of its attention half, and return the module's input."""
        return _given_to(stop, partial(self.through, layer))


def ffn(layer: nn.Module, middle: Tensor, architecture: Architecture, stop: nn.Module) -> Tensor:
    """Run a layer's FFN up to one of its modules, and return the module's input, (T, ...).

    Args:
        layer: Layer of the architecture.
        middle: Normalised output of attention, (T, D).
        architecture: Architecture that calls the layer's FFN half.
        stop: Module to stop at.
    """
    return _given_to(stop, partial(architecture.ffn_half, layer, middle[None]))[0]


class Side:
    """A model and its batches, which wait between two layers."""

    def __init__(self, model: PreTrainedModel, architecture: Architecture, folder: Path) -> None:
        self.model = model
        self.architecture = architecture
        self.layers = architecture.layers(model.base_model)
        self.hidden = Spill(folder, model.device)

    def enter(self, index: int, batch: BatchEncoding) -> Run:
        """Return the next layer's inputs, with hidden states as the last layer left them."""
        given: dict[nn.Module, tuple[Sequence[Any], dict[str, Any]]] = {}
        first: list[Tensor] = []

        def skip(layer: nn.Module, hidden: Tensor, *arguments: Any, **keywords: Any) -> object:
            given[layer] = arguments, keywords
            first.append(hidden)
            return self.architecture.layer_result(hidden)

        try:
            for layer in self.layers:
                layer.forward = partial(skip, layer)
            self.model.base_model(**batch)
        finally:
            for layer in self.layers:
                del layer.forward
        return Run(
            hidden=self.hidden.read(index) if self.hidden.has(index) else first[0],
            arguments=given,
        )


class _Place(NamedTuple):
    """Where a tensor is in a file."""

    start: int
    room_bytes: int
    shape: tuple[int, ...]
    kind: np.dtype[Any]


class Spill:
    """Tensors of batches, the first ones on their device and the rest in one file."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        folder.mkdir(parents=True)
        self.file = (folder / "tensors").open("w+b")
        self.device = device
        self.most_bytes = NEAR_BYTES
        if device.type == "cuda":
            self.most_bytes = torch.cuda.mem_get_info(device)[0] // _NEAR_PART_OF_GPU
        self.near: dict[Key, Tensor] = {}
        self.near_bytes = 0
        self.far: dict[Key, _Place] = {}
        self.far_bytes = 0

    def write(self, key: Key, tensor: Tensor) -> None:
        """Keep a tensor in place of the earlier one, numbers in float32 and masks as they are."""
        tensor = tensor.float() if tensor.is_floating_point() else tensor
        before = self.near.pop(key).nbytes if key in self.near else 0
        self.near_bytes -= before
        if self.near_bytes + tensor.nbytes <= self.most_bytes:
            self.near_bytes += tensor.nbytes
            self.near[key] = tensor.contiguous()
        else:
            self._write_far(key, tensor.cpu().numpy())

    def read(self, key: Key) -> Tensor:
        """Return the last written tensor of a key."""
        if key in self.near:
            return self.near[key]
        place = self.far[key]
        self.file.seek(place.start)
        found = np.fromfile(self.file, dtype=place.kind, count=math.prod(place.shape))
        return torch.from_numpy(found.reshape(place.shape)).to(self.device)

    def has(self, key: Key) -> bool:
        """Return whether a tensor of a key was written."""
        return key in self.near or key in self.far

    def _write_far(self, key: Key, array: np.ndarray) -> None:
        """Write a tensor over the earlier one of its key if there is room, else at the end."""
        start, room_bytes = self.far_bytes, array.nbytes
        before = self.far.get(key)
        if before is not None and before.room_bytes >= room_bytes:
            start, room_bytes = before.start, before.room_bytes
        else:
            self.far_bytes += room_bytes
        self.file.seek(start)
        self.file.write(array.tobytes())
        self.far[key] = _Place(start, room_bytes, array.shape, array.dtype)


def _given_to(module: nn.Module, run: Callable[[], Any]) -> Tensor:
    """Return a module's input in a run, which stops there."""
    taken: list[Tensor] = []

    def take(_: nn.Module, arguments: Any) -> None:
        taken.append(arguments[0])
        raise _StopForwardError

    handle = module.register_forward_pre_hook(take)
    try:
        run()
    except _StopForwardError:
        pass
    finally:
        handle.remove()
    return taken[0]
