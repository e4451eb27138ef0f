"""Bottleneck adapters: the small trainable layers inside a frozen teacher.

A down-projection, a non-linearity and an up-projection, around a residual connection. Houlsby et
al. (2019, https://arxiv.org/abs/1902.00751, figure 2) put two in each layer, after attention and
after the FFN, before the layer's own residual sum and LayerNorm; Pfeiffer et al. (2020,
https://arxiv.org/abs/2005.00247) keep the one after the FFN; a parallel adapter (He et al., 2022,
https://arxiv.org/abs/2110.04366, section 4) stands beside the FFN and sees its input.

Adapters hang on the modules of an untouched transformers model as forward hooks: the backbone's
classes, and the names of its parameters, stay what they were.

Shapes: B = batch, T = tokens, D = hidden size, A = bottleneck size.
"""

from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.architectures import Architecture, ParallelSite

AdapterKind = Literal["houlsby", "pfeiffer", "parallel"]
ADAPTER = "adapter"
"""Name under which an adapter hangs on the module whose output it changes."""


def _linear(x: Tensor) -> Tensor:
    return x


_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "silu": F.silu,
    "linear": _linear,
}


class BottleneckAdapter(nn.Module):
    """Returns ``x + scaling * up(activation(down(x)))``, or without the ``x +``.

    Args:
        hidden_size: D.
        bottleneck_size: A.
        activation: ``relu``, ``gelu`` (exact, with erf), ``silu`` or ``linear`` (none: such an
            adapter folds exactly, see models/dense_folds.py).
        initialisation: ``zero_up`` starts as exactly the identity: the up-projection is zero.
            ``small`` draws both projections from a normal of std 0.01, cut at two std
            (Houlsby et al., 2019, section 3.6).
        scaling: Factor on the up-projection's output.
        dropout: Probability on the A bottleneck units while training.
        residual: Whether the input is added.
    """

    def __init__(
        self,
        hidden_size: int,
        *,
        bottleneck_size: int,
        activation: str,
        initialisation: str,
        scaling: float,
        dropout: float,
        residual: bool,
    ) -> None:
        super().__init__()
        self.down = nn.Linear(hidden_size, bottleneck_size)
        self.up = nn.Linear(bottleneck_size, hidden_size)
        self.dropout = nn.Dropout(dropout)
        self.activation = activation
        self._activate = _ACTIVATIONS[activation]
        self.scaling = scaling
        self.residual = residual
        _initialise(self, initialisation)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, D) to (B, T, D)."""
        bottleneck = self.dropout(self._activate(self.down(x)))  # (B, T, A)
        change: Tensor = self.scaling * self.up(bottleneck)  # (B, T, D)
        return x + change if self.residual else change


def insert_adapters(
    model: nn.Module,
    architecture: Architecture,
    *,
    kind: AdapterKind,
    bottleneck_size: int,
    activation: str = "relu",
    initialisation: str = "zero_up",
    scaling: float = 1.0,
    dropout: float = 0.0,
    residual: bool = True,
) -> None:
    """Hang new adapters on every layer of a backbone, in place.

    Args:
        model: The backbone, without its head.
        architecture: Where the sites of this backbone are.
        kind: Which sites get an adapter.
        bottleneck_size: A; the other arguments as in `BottleneckAdapter`.
    """
    for layer in architecture.layers(model):
        for site in _sites(layer, architecture, kind):
            reference = next(site.parameters())
            adapter = BottleneckAdapter(
                architecture.hidden_size(model),
                bottleneck_size=bottleneck_size,
                activation=activation,
                initialisation=initialisation,
                scaling=scaling,
                dropout=dropout,
                # A parallel adapter adds to the FFN's output, which is its residual.
                residual=residual and kind != "parallel",
            )
            site.add_module(ADAPTER, adapter.to(reference.device, reference.dtype))
            _hook(site, architecture, kind)


def is_adapter_parameter(name: str) -> bool:
    """Tell from its name whether a parameter belongs to an adapter."""
    return ADAPTER in name.split(".")


def _sites(layer: nn.Module, architecture: Architecture, kind: AdapterKind) -> list[nn.Module]:
    attention = layer.get_submodule(architecture.attention_output)
    ffn = layer.get_submodule(architecture.ffn_output)
    if kind == "houlsby":
        return [attention, ffn]
    if kind == "pfeiffer":
        return [ffn]
    return [layer.get_submodule(architecture.parallel_module)]


def _hook(site: nn.Module, architecture: Architecture, kind: AdapterKind) -> None:
    if kind != "parallel":
        site.register_forward_hook(_after)
    elif architecture.parallel_site is ParallelSite.RESIDUAL_ARGUMENT:
        site.register_forward_pre_hook(_into_residual)
    else:
        site.register_forward_hook(_beside)


# Any: torch types a hook's module, arguments and output as such.
def _after(module: Any, _: Any, output: Tensor) -> Tensor:
    """Sequential: the adapter maps the site's output."""
    adapted: Tensor = module.adapter(output)
    return adapted


def _beside(module: Any, arguments: Any, output: Tensor) -> Tensor:
    """Parallel, on a module that is the FFN: the adapter's output is added to the FFN's."""
    change: Tensor = module.adapter(arguments[0])
    return output + change


def _into_residual(module: Any, arguments: Any) -> Any:
    """Parallel, on a module called with (FFN units, FFN input): the input is the residual.

    LayerNorm sees dense(units) + input + adapter(input) whichever of the sums is done first.
    """
    units, ffn_input = arguments
    return units, ffn_input + module.adapter(ffn_input)


@torch.no_grad()
def _initialise(adapter: BottleneckAdapter, initialisation: str) -> None:
    for projection in (adapter.down, adapter.up):
        nn.init.zeros_(projection.bias)
    if initialisation == "zero_up":
        # PyTorch's default for a linear layer, without its random bias.
        nn.init.kaiming_uniform_(adapter.down.weight, a=5**0.5)
        nn.init.zeros_(adapter.up.weight)
        return
    for projection in (adapter.down, adapter.up):
        nn.init.trunc_normal_(projection.weight, std=0.01, a=-0.02, b=0.02)
