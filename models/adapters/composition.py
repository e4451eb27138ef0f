"""Compositions of several adapters at one site: stacked, averaged, weighted or fused.

The site's dense layer gives h, and x is added to it afterwards. A composition maps both to the h
that the layer continues with. Stack applies its children one after the other. The others mix the
results of their children for the same h and x.

Shapes: B = batch, T = tokens, D = hidden size, N = children.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Stack:
    """Each child works on what the one before it left.

    MAD-X, Pfeiffer et al., 2020, https://arxiv.org/abs/2005.00052.
    """

    children: tuple["Composition", ...]
    type: Literal["stack"] = "stack"


@dataclass(frozen=True, slots=True)
class Average:
    """The weighted mean of the children's results."""

    children: tuple["Composition", ...]
    weights: tuple[float, ...] = ()
    """They sum to 1; equal ones by default."""
    type: Literal["average"] = "average"


@dataclass(frozen=True, slots=True)
class Weighted:
    """The mean of the children's results under weights that are learned, one a site and child.

    They are a softmax, equal at first; a site's are the parameters of its `Weights` module.
    """

    children: tuple["Composition", ...]
    type: Literal["weighted"] = "weighted"


@dataclass(frozen=True, slots=True)
class Fuse:
    """AdapterFusion: attention over what the adapters add, token by token."""

    children: tuple[str, ...]
    type: Literal["fuse"] = "fuse"


Composition = str | Stack | Average | Weighted | Fuse
"""The name of an adapter, or several of them together."""


def names_in(composition: Composition) -> Iterator[str]:
    """Yield the names of all adapters of a composition, in order, each once."""
    yield from dict.fromkeys(_leaves(composition))


def parts_of(composition: Composition) -> Iterator[Composition]:
    """Yield a composition and all that it is made of, adapters aside."""
    if not isinstance(composition, str):
        yield composition
        for child in composition.children:
            yield from parts_of(child)


def module_name(composition: Composition) -> str:
    """Return the name under which a composition's own parameters stand, as AdapterHub makes it."""
    return ",".join(_leaves(composition))


def _leaves(composition: Composition) -> Iterator[str]:
    if isinstance(composition, str):
        yield composition
        return
    for child in composition.children:
        yield from _leaves(child)


@dataclass(frozen=True, kw_only=True, slots=True)
class FusionSettings:
    """The form of an AdapterFusion layer."""

    query: bool = True
    """A query projection; else the hidden state itself."""
    key: bool = True
    """A key projection; else the adapters' outputs themselves."""
    value: bool = True
    """A value projection, without bias."""
    query_before_norm: bool = False
    """The query is made of h; else of what the adapters see."""
    residual_before: bool = False
    """The residual is added to the values, before they are weighed."""
    value_before_softmax: bool = True
    """Values are projected before they are weighed; else their weighted sum is."""


class Fusion(nn.Module):
    """Attention of each token over its N adapters' outputs.

    Pfeiffer et al., 2021, https://arxiv.org/abs/2005.00247, section 3.2. The query comes from the
    hidden state, keys and values from the adapters' outputs. Scores are not divided by sqrt(D). The
    value projection starts as the identity.
    """

    def __init__(self, hidden_size: int, settings: FusionSettings) -> None:
        super().__init__()
        self.settings = settings
        self.query = nn.Linear(hidden_size, hidden_size) if settings.query else nn.Identity()
        self.key = nn.Linear(hidden_size, hidden_size) if settings.key else nn.Identity()
        self.value = (
            nn.Linear(hidden_size, hidden_size, bias=False) if settings.value else nn.Identity()
        )
        with torch.no_grad():
            for projection in (self.query, self.key):
                if isinstance(projection, nn.Linear):
                    nn.init.trunc_normal_(projection.weight, std=0.02, a=-0.04, b=0.04)
                    nn.init.zeros_(projection.bias)
            if isinstance(self.value, nn.Linear):
                nn.init.eye_(self.value.weight)

    def forward(self, h: Tensor, seen: Tensor, changes: Tensor, residual: Tensor) -> Tensor:
        """Return the fused change on top of the residual, (B, T, D).

        Args:
            h: What the site's dense layer gives, (B, T, D).
            seen: What the adapters see, (B, T, D).
            changes: What each adapter adds, (B, T, N, D).
            residual: (B, T, D).
        """
        settings = self.settings
        query = self.query(h if settings.query_before_norm else seen)
        keys = self.key(changes)
        values = changes + residual[:, :, None] if settings.residual_before else changes
        if settings.value_before_softmax:
            values = self.value(values)
        scores = (query[:, :, None] * keys).sum(dim=-1)  # (B, T, N)
        mixed: Tensor = (scores.softmax(dim=-1)[..., None] * values).sum(dim=2)  # (B, T, D)
        if not settings.value_before_softmax:
            mixed = self.value(mixed)
        return mixed if settings.residual_before else mixed + residual


_GAIN = 20.0
"""Factor on the numbers behind learned weights. Adam moves each parameter by about the learning
rate per step, which is little for such a weight."""


class Weights(nn.Module):
    """Learned weights of N children: a softmax of N numbers, times a gain, that start at zero."""

    def __init__(self, children: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(children))

    def forward(self, results: Tensor) -> Tensor:
        """Return the weighted mean, (B, T, D), of (N, B, T, D)."""
        return torch.einsum("n,nbtd->btd", (_GAIN * self.logits).softmax(dim=0), results)


def distance_from_identity(model: nn.Module) -> Tensor:
    """Return the sum of ``||I - W_v||²`` over a model's AdapterFusion layers, as a scalar.

    Pfeiffer et al. (2021) keep the value projections W_v near their start with 0.01 times it.
    """
    values = [m.value for m in model.modules() if isinstance(m, Fusion)]
    weights = [value.weight for value in values if isinstance(value, nn.Linear)]
    total = torch.zeros((), device=weights[0].device if weights else None)
    for weight in weights:
        identity = torch.eye(len(weight), device=weight.device, dtype=weight.dtype)
        total = total + (identity - weight).square().sum()
    return total


def mean_of(results: list[Tensor], average: Average) -> Tensor:
    """Return the weighted mean of the children's results."""
    weights = average.weights or (1 / len(results),) * len(results)
    pairs = zip(weights, results, strict=True)
    first, *rest = (weight * result for weight, result in pairs)
    total = first
    for result in rest:
        total = total + result
    return total
