"""Adapters folded into dense layers: the algebra of exact folds, on the tensors of one site.

- A parallel adapter with the FFN's activation f equals A more FFN units (the widening of
  Net2Net, Chen et al., 2016, https://arxiv.org/abs/1511.05641): ``W1' = [W1; Wd]``,
  ``b1' = [b1; bd]``, ``W2' = [W2, s Wu]``, ``b2' = b2 + s bu``. Several are concatenated.
- A linear parallel adapter is twice as many units: ``x = f(x) - f(-x)`` holds for ReLU, SiLU and
  GELU in all its forms, except a clipped one.
- A linear sequential adapter is a matrix on the dense layer before it (as in RepAdapter, Luo et
  al., 2023, https://arxiv.org/abs/2302.08106): ``W' = (I + s Wu Wd) W``, at no width.

Other adapters, such as a ReLU adapter parallel to a GELU FFN, have no exact fold. Sums and products
are computed in float64 and rounded to the dense layer's precision.

Shapes: D = hidden size, K = inputs of a dense layer, F = FFN units, A = bottleneck size, s = an
adapter's scaling.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from models.adapters.bottleneck import BottleneckAdapter
from models.architectures.dense import Dense

_SAME_FUNCTION = (
    {"gelu", "gelu_python"},
    {"silu", "swish"},
    {"gelu_new", "gelu_accurate"},
)
"""Groups of names that mean one activation in transformers."""

_DIFFERENCE_IS_LINEAR = {
    "relu",
    "silu",
    "swish",
    "hardswish",
    "gelu",
    "gelu_python",
    "gelu_new",
    "gelu_fast",
    "gelu_accurate",
    "gelu_pytorch_tanh",
    "gelu_python_tanh",
    "quick_gelu",
}
"""Activations, by their names in transformers, with ``f(x) - f(-x) = x``."""


def sequential_obstacle(adapter: BottleneckAdapter) -> str | None:
    """Return why `fold_sequential` does not take an adapter; None if it does."""
    activation = adapter.settings.activation
    if activation == "linear":
        return _extras(adapter)
    return (
        "A sequential adapter folds into the dense layer before it only if it is linear. This "
        f"one's activation is {activation!r}."
    )


def parallel_obstacle(adapter: BottleneckAdapter, ffn_activation: str) -> str | None:
    """Return why `fold_parallel` does not take an adapter; None if it does."""
    if not _signs(adapter, ffn_activation):
        return (
            f"A parallel adapter with the activation {adapter.settings.activation!r} is no sum of "
            f"units of this FFN, whose activation is {ffn_activation!r}."
        )
    return _extras(adapter)


def _extras(adapter: BottleneckAdapter) -> str | None:
    form = adapter.settings
    extras = {
        "a LayerNorm of its own": form.norm_before or form.norm_after,
        "a gate": form.gate,
        "Kronecker products": form.kronecker_factors is not None,
    }
    found = [name for name, is_there in extras.items() if is_there]
    return f"An adapter with {' and '.join(found)} has no exact fold." if found else None


def units_needed(adapter: BottleneckAdapter, ffn_activation: str) -> int:
    """Return the number of FFN units that equal a parallel adapter."""
    return adapter.settings.bottleneck_size * len(_signs(adapter, ffn_activation))


@torch.no_grad()
def fold_sequential(dense: Dense, adapters: Sequence[BottleneckAdapter]) -> Dense:
    """Return the dense layer that equals this one followed by its adapters, in order.

    Args:
        dense: Weight (D, K) and bias (D,).
        adapters: Adapters, each of which maps the output of the one before.

    Raises:
        ValueError: for an adapter that is not linear.
    """
    weight, bias = dense.double()
    for adapter in adapters:
        _refuse(sequential_obstacle(adapter))
        down, up = _projections(adapter)
        matrix = up.weight @ down.weight  # (D, D)
        matrix.diagonal().add_(1.0)  # adds the residual connection
        weight = matrix @ weight
        bias = matrix @ bias + up.weight @ down.bias + up.bias
    return Dense(weight.to(dense.weight), bias.to(dense.bias))


@torch.no_grad()
def fold_parallel(
    ffn_input: Dense,
    ffn_output: Dense,
    adapters: Sequence[BottleneckAdapter],
    *,
    activation: str,
    units: int,
) -> tuple[Dense, Dense]:
    """Return the FFN that equals the sum of this one and the adapters parallel to it.

    Args:
        ffn_input: Weight (F, D) and bias (F,) of its first dense layer.
        ffn_output: Weight (D, F) and bias (D,) of its last dense layer.
        adapters: Adapters, each of which sees the FFN's input.
        activation: Name of the FFN's activation in transformers.
        units: Units of the result. Units that no adapter needs are zeros.

    Raises:
        ValueError: for an adapter that is no sum of FFN units, or too few units.
    """
    rows, row_biases = [ffn_input.weight.double()], [ffn_input.bias.double()]
    columns, bias = [ffn_output.weight.double()], ffn_output.bias.double()
    for adapter in adapters:
        _refuse(parallel_obstacle(adapter, activation))
        down, up = _projections(adapter)
        for sign in _signs(adapter, activation):
            rows.append(sign * down.weight)  # (A, D)
            row_biases.append(sign * down.bias)  # (A,)
            columns.append(sign * up.weight)  # (D, A)
        bias = bias + up.bias
    needed = sum(map(len, rows))
    if needed > units:
        raise ValueError(f"expected at least {needed} FFN units, found {units}")
    zeros = units - needed
    return (
        Dense(
            F.pad(torch.cat(rows), (0, 0, 0, zeros)).to(ffn_input.weight),  # (units, D)
            F.pad(torch.cat(row_biases), (0, zeros)).to(ffn_input.bias),  # (units,)
        ),
        Dense(
            F.pad(torch.cat(columns, dim=1), (0, zeros)).to(ffn_output.weight),  # (D, units)
            bias.to(ffn_output.bias),
        ),
    )


def _refuse(obstacle: str | None) -> None:
    if obstacle is not None:
        raise ValueError(obstacle)


def _signs(adapter: BottleneckAdapter, ffn_activation: str) -> Sequence[int]:
    """Return the signs of the FFN units that equal one bottleneck unit; empty if none do."""
    activation = adapter.settings.activation
    same = next((names for names in _SAME_FUNCTION if activation in names), {activation})
    if ffn_activation in same:
        return (1,)
    if activation == "linear" and ffn_activation in _DIFFERENCE_IS_LINEAR:
        return (1, -1)
    return ()


def _projections(adapter: BottleneckAdapter) -> tuple[Dense, Dense]:
    """Return down- and up-projection in float64, with the scaling multiplied into the latter."""
    down, up = Dense.of(adapter.down).double(), Dense.of(adapter.up).double()
    scaling = torch.as_tensor(adapter.scaling).detach().to(up.bias)
    return down, Dense(scaling.reshape(-1, 1) * up.weight, scaling * up.bias)
