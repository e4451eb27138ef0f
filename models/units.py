"""Standardised labels: a head trains on them, and afterwards answers in the label's unit.

Numbers of any size train alike once they have mean 0 and standard deviation 1. The head's last
dense layer is linear, so its scale can be changed exactly. It changes to standard units before a
training, and back to the label's unit after it. A head without a bias keeps its zero, and is only
scaled. A new head is drawn for numbers about 1, so that its own unit is the standard one.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from models.architectures.heads import Head


@dataclass(frozen=True, kw_only=True, slots=True)
class Units:
    """Label = mean + std * standard unit."""

    mean: float = 0.0
    std: float = 1.0

    # Any: arrays and tensors alike.
    def standardise(self, values: Any) -> Any:
        """Return values of the label's unit in standard units."""
        return (values - self.mean) / self.std

    def restore(self, values: Any) -> Any:
        """Return values of standard units in the label's unit."""
        return values * self.std + self.mean


def units_of(labels: np.ndarray, model: nn.Module, head: Head) -> Units:
    """Return the standard units of training labels, as far as a head can express them."""
    dense = _last_dense(model, head)
    if dense.bias is None:
        return Units(std=float(np.sqrt(np.square(labels).mean())) or 1.0)
    return Units(mean=float(labels.mean()), std=float(labels.std()) or 1.0)


@torch.no_grad()
def to_standard_units(model: nn.Module, head: Head, units: Units) -> None:
    """Let a head that answers in the label's unit answer in standard units, in place."""
    dense = _last_dense(model, head)
    dense.weight.div_(units.std)
    if dense.bias is not None:
        dense.bias.copy_((dense.bias - units.mean) / units.std)


@torch.no_grad()
def to_label_unit(model: nn.Module, head: Head, units: Units) -> None:
    """Let a head that answers in standard units answer in the label's unit, in place."""
    dense = _last_dense(model, head)
    dense.weight.mul_(units.std)
    if dense.bias is not None:
        dense.bias.copy_(dense.bias * units.std + units.mean)


def _last_dense(model: nn.Module, head: Head) -> nn.Linear:
    dense = model.get_submodule(head.last)
    if not isinstance(dense, nn.Linear):
        raise TypeError(f"{head.last} is a {type(dense).__name__}, not a dense layer")
    return dense
