"""Fit of one dense layer, from Gram matrices to a changed weight and bias.

Shapes: T = tokens, D = outputs of a dense layer, K = inputs of it, plus one for its bias.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.absorption.low_rank import reduce_rank
from models.absorption.ridge import FIRST_STRENGTH, Gram, device_of_sums, solve
from models.adapters.parameter_names import ADAPTER
from models.architectures.dense import Dense, bias_of, weight_of
from models.processes import count_processes


@dataclass(frozen=True, kw_only=True, slots=True)
class Fit:
    """Result of one site's regression: the held-out R², and the strength that reached it."""

    layer: int
    """Number of the layer in the student."""
    site: str
    r2: float
    ridge: float


def sum_that_gives(output: Tensor, norm: nn.Module, total: Tensor) -> Tensor:
    """Return the sum whose LayerNorm is the output.

    Without an adapter behind the LayerNorm, it is the given sum. The contribution of such an
    adapter is divided by the LayerNorm's scale and multiplied by the sum's own spread.
    """
    if not hasattr(norm, ADAPTER):
        return total
    normalised: Tensor = norm.forward(total)
    spread = total.std(dim=-1, correction=0, keepdim=True)
    return total + (output - normalised) * spread / norm.get_parameter("weight")


def fit_site(
    dense: nn.Module,
    grams: dict[bool, Gram],
    layer: int,
    site: str,
    before: Sequence[Fit],
    *,
    rank: int | None = None,
) -> Fit:
    """Fit a dense layer and change it, unless nothing explains the held-out tokens.

    Args:
        dense: Dense layer to change.
        grams: Sums over its held-out tokens, and over all others.
        layer: Number of the layer in the student.
        site: Half of the layer that the dense layer is in.
        before: Earlier fits, whose ridge strengths are the first to try.
        rank: Highest rank of the weight's change; None leaves it free.
    """
    weights = transposed(dense)
    if not (grams[False].finite and grams[True].finite and weights.isfinite().all()):
        raise ValueError(
            f"The activations at layer {layer}, {site}, are not finite. The teacher's or the "
            "student's weights are broken, so nothing can be fitted to them."
        )
    same = (fit.ridge for fit in reversed(before) if fit.site == site and fit.ridge)
    first = next(same, FIRST_STRENGTH)
    fit, held_out = grams[False].sums(weights), grams[True].sums(weights)
    solution = solve(fit, held_out, first=first)
    if solution is None:
        return Fit(layer=layer, site=site, r2=0.0, ridge=0.0)
    change, r2 = solution.change, solution.r2
    if rank is not None:
        change = reduce_rank(change, fit.xx + held_out.xx, rank)
        r2 = held_out.r2(reduce_rank(solution.without_held_out, fit.xx, rank))
    set_dense(dense, weights + change)
    return Fit(layer=layer, site=site, r2=r2, ridge=solution.strength)


def empty_grams(dense: nn.Module) -> dict[bool, Gram]:
    """Return empty sums for a dense layer, over held-out tokens and over all others."""
    has_bias = bias_of(dense) is not None
    return {True: Gram(bias=has_bias), False: Gram(bias=has_bias)}


def of_all_processes(grams: dict[bool, Gram], dense: nn.Module) -> dict[bool, Gram]:
    """Add the sums of other processes to those of a dense layer, in place, and return them."""
    weight = weight_of(dense)
    outputs, inputs = weight.shape
    if count_processes() > 1:
        for gram in grams.values():
            gram.add_processes(inputs + 1, outputs, weight)
    return grams


def transposed(dense: nn.Module) -> Tensor:
    """Return a dense layer's weight and, in the last row, its bias: (K, D), float64."""
    weight, bias = Dense.of(dense)
    whole = torch.cat([weight.T, bias[None]])
    return whole.to(device_of_sums(whole)).double()


def set_dense(dense: nn.Module, transposed: Tensor) -> None:
    """Set a dense layer's weight and bias from the matrix that `transposed` returns."""
    weight_of(dense).copy_(transposed[:-1].T)
    bias = bias_of(dense)
    if bias is not None:
        bias.copy_(transposed[-1])
