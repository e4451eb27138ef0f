"""One bottleneck adapter, in every form that AdapterHub checkpoints have.

A down-projection, a non-linearity and an up-projection (Houlsby et al., 2019,
https://arxiv.org/abs/1902.00751, figure 2). Its inputs and its residual sum depend on its place in
the layer, and belong to models/adapters/hooks.py. An adapter may have LayerNorms of its own. It may
have a learned scaling (He et al., 2022, https://arxiv.org/abs/2110.04366), which AdapterPlus has
per channel (Steitz and Roth, 2024, https://arxiv.org/abs/2406.06820). It may have a gate (UniPELT,
Mao et al., 2022, https://arxiv.org/abs/2110.07577). Its projections may be sums of Kronecker
products (Compacter, Mahabadi et al., 2021, https://arxiv.org/abs/2106.04647).

Shapes: B = batch, T = tokens, D = hidden size, A = bottleneck size, P = Kronecker factors.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.activations import ACT2FN

Initialisation = Literal["zero_up", "small"]
Scaling = float | Literal["learned", "channel"]


def _linear(x: Tensor) -> Tensor:
    return x


_OWN_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": _linear,
    "leakyrelu": F.leaky_relu,
}
"""Activations that transformers lacks, or has under the name with another meaning."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BottleneckSettings:
    """The form of one adapter."""

    bottleneck_size: int
    """A."""
    activation: str = "relu"
    """``linear`` (none), ``leakyrelu`` (slope 0.01), or transformers' name of a function."""
    scaling: Scaling = 1.0
    """Factor on the up-projection's output: fixed, one that is learned, or one a channel."""
    norm_before: bool = False
    """A LayerNorm before the down-projection."""
    norm_after: bool = False
    """A LayerNorm on the result."""
    residual_before_norm: bool = False
    """Whether that LayerNorm sees the residual too."""
    gate: bool = False
    """A sigmoid of the input, averaged over the tokens, multiplies the change."""
    kronecker_factors: int | None = None
    """P, the number of Kronecker products per projection; None for plain matrices. Each product is
    one of a P by P rule and a matrix of rank ``kronecker_rank``."""
    kronecker_rank: int = 1
    dropout: float = 0.0
    """Probability on the A bottleneck units while training."""


class KroneckerLinear(nn.Module):
    """A linear layer whose matrix is ``sum_p rule[p] ⊗ (left[p] right[p])``.

    Compacter, section 3, equations 3 to 5. The rule is shared by all layers of an adapter, and
    given to `forward`.
    """

    def __init__(self, inputs: int, outputs: int, *, factors: int, rank: int) -> None:
        super().__init__()
        if inputs % factors or outputs % factors:
            raise ValueError(
                f"expected sizes that {factors} Kronecker factors divide, found {inputs} inputs "
                f"and {outputs} outputs"
            )
        self.left = nn.Parameter(torch.empty(factors, inputs // factors, rank))
        self.right = nn.Parameter(torch.empty(factors, rank, outputs // factors))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor, rule: Tensor) -> Tensor:
        """Map (..., inputs) to (..., outputs); rule is (P, P, P)."""
        matrices = self.left @ self.right  # (P, inputs / P, outputs / P)
        products = torch.einsum("pij,pkl->ikjl", rule, matrices)
        matrix = products.reshape(-1, len(self.bias))  # (inputs, outputs)
        return x @ matrix + self.bias


class BottleneckAdapter(nn.Module):
    """Change that an adapter makes, ``scaling * up(activation(down(x)))``, and its residual sum.

    Args:
        hidden_size: D.
        settings: The form.
        initialisation: ``zero_up`` starts as no change at all: the up-projection is zero.
            ``small`` draws both projections from a normal of std 0.01, cut at two std
            (Houlsby et al., 2019, section 3.6).
        rule: (P, P, P), shared by the layers of one adapter; for Kronecker products only.
    """

    def __init__(
        self,
        hidden_size: int,
        settings: BottleneckSettings,
        *,
        initialisation: Initialisation = "zero_up",
        rule: nn.Parameter | None = None,
    ) -> None:
        super().__init__()
        self.settings = settings
        self.norm_before = nn.LayerNorm(hidden_size) if settings.norm_before else None
        self.norm_after = nn.LayerNorm(hidden_size) if settings.norm_after else None
        self.down = _projection(hidden_size, settings.bottleneck_size, settings)
        self.up = _projection(settings.bottleneck_size, hidden_size, settings)
        self.gate = nn.Linear(hidden_size, 1) if settings.gate else None
        self.rule = rule
        self.dropout = nn.Dropout(settings.dropout)
        self.scaling: float | nn.Parameter
        if isinstance(settings.scaling, str):
            size = hidden_size if settings.scaling == "channel" else 1
            self.scaling = nn.Parameter(torch.ones(size))
        else:
            self.scaling = settings.scaling
        own = _OWN_ACTIVATIONS.get(settings.activation)
        self._activate = own or ACT2FN[settings.activation]
        _initialise(self, initialisation)

    def change(self, x: Tensor) -> Tensor:
        """Return the scaled up-projection, (B, T, D), of (B, T, D)."""
        seen = x if self.norm_before is None else self.norm_before(x)
        bottleneck = self.dropout(self._activate(self._project(self.down, seen)))  # (B, T, A)
        change: Tensor = self.scaling * self._project(self.up, bottleneck)
        return change

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        """Return the gated change of x on top of the residual, all (B, T, D)."""
        output = self.change(x)
        if self.gate is not None:
            output = output * torch.sigmoid(self.gate(x)).mean(dim=1, keepdim=True)
        if self.norm_after is None:
            return output + residual
        if self.settings.residual_before_norm:
            output, residual = output + residual, torch.zeros_like(residual)
        normalised: Tensor = self.norm_after(output)
        return normalised + residual

    def _project(self, projection: nn.Module, x: Tensor) -> Tensor:
        projected: Tensor = projection(x) if self.rule is None else projection(x, self.rule)
        return projected


def _projection(inputs: int, outputs: int, settings: BottleneckSettings) -> nn.Module:
    if settings.kronecker_factors is None:
        return nn.Linear(inputs, outputs)
    return KroneckerLinear(
        inputs, outputs, factors=settings.kronecker_factors, rank=settings.kronecker_rank
    )


@torch.no_grad()
def _initialise(adapter: BottleneckAdapter, initialisation: Initialisation) -> None:
    for projection in (adapter.down, adapter.up):
        nn.init.zeros_(projection.get_parameter("bias"))
        for name, parameter in projection.named_parameters():
            if name == "bias":
                continue
            if initialisation == "small":
                nn.init.trunc_normal_(parameter, std=0.01, a=-0.02, b=0.02)
            elif projection is adapter.up and name != "left":
                nn.init.zeros_(parameter)
            else:
                # PyTorch's default for a linear layer, without its random bias.
                nn.init.kaiming_uniform_(parameter, a=5**0.5)
