"""Dense layers of transformers models, whatever their orientation, with or without a bias.

``nn.Linear`` keeps its weight as (outputs, inputs), GPT-2's ``Conv1D`` the other way round.

Shapes: K = inputs.
"""

from typing import NamedTuple

from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D


class Dense(NamedTuple):
    """A dense layer's tensors."""

    weight: Tensor
    """(outputs, K)."""
    bias: Tensor
    """(outputs,)."""

    @classmethod
    def of(cls, module: nn.Module) -> "Dense":
        """Return the tensors of a dense layer; zeros where it has no bias."""
        weight, bias = weight_of(module).detach(), bias_of(module)
        return cls(weight, weight.new_zeros(len(weight)) if bias is None else bias.detach())

    def double(self) -> "Dense":
        """Return the tensors in float64."""
        return Dense(self.weight.double(), self.bias.double())


def weight_of(module: nn.Module) -> Tensor:
    """Return a dense layer's weight (outputs, K), a view to read and write.

    Raises:
        TypeError: when the module is no dense layer.
    """
    if isinstance(module, Conv1D):
        return module.weight.T
    if isinstance(module, nn.Linear):
        return module.weight
    raise TypeError(f"expected a linear layer, found a {type(module).__name__}")


def bias_of(module: nn.Module) -> Tensor | None:
    """Return a dense layer's bias (outputs,), or None where it has none."""
    bias = getattr(module, "bias", None)
    return bias if isinstance(bias, Tensor) else None


def replace_tensors(module: nn.Module, dense: Dense) -> None:
    """Give a dense layer tensors of another size, in place; ``requires_grad`` stays.

    A layer without a bias keeps none.
    """
    weight, bias = weight_of(module), bias_of(module)
    turned = dense.weight.T if isinstance(module, Conv1D) else dense.weight
    module.weight = nn.Parameter(turned.contiguous(), requires_grad=weight.requires_grad)
    if bias is not None:
        module.bias = nn.Parameter(dense.bias, requires_grad=bias.requires_grad)
    outputs, inputs = dense.weight.shape
    if isinstance(module, Conv1D):
        module.nf, module.nx = outputs, inputs
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = outputs, inputs


def stored_weight(module: nn.Module, weight: Tensor) -> Tensor:
    """Return a weight (outputs, K) as the module's state dict holds it."""
    return weight.T.contiguous() if isinstance(module, Conv1D) else weight
