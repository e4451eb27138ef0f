"""One site: the adapters at one place of one layer, their inputs and their composition.

At a site, h is the output of the dense layer. The residual x is added to it afterwards, and
s = LayerNorm(h + x). In layers whose LayerNorm comes first (pre-LN), x is the input of the half
that ends with the dense layer. There r is added to h afterwards, and s = h + r.

Shapes: B = batch, T = tokens, D = hidden size.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor, nn

from models.adapters.bottleneck import BottleneckAdapter, BottleneckSettings
from models.adapters.composition import (
    Average,
    Composition,
    Fuse,
    Stack,
    mean_of,
    module_name,
    names_in,
    parts_of,
)

Sees = Literal["output", "normalised", "input", "stream"]
Residual = Literal["output", "sum", "seen"]


@dataclass(frozen=True, kw_only=True, slots=True)
class AdapterSettings:
    """An adapter of a whole backbone: its form, and its places in each layer."""

    form: BottleneckSettings
    attention: bool
    """One after attention."""
    ffn: bool
    """One after, or beside, the FFN."""
    sees: Sees = "output"
    """Input of the adapter. ``output`` is h, and ``normalised`` is s. ``input`` is x, for a
    parallel adapter. ``stream`` is r, for a parallel adapter too; in post-LN layers it is x."""
    residual: Residual = "output"
    """Residual that is added to the change: ``output`` is h, ``sum`` is h + x, ``seen`` its
    input."""
    after_norm: bool = False
    """It hangs behind the LayerNorm, whose output is s: the layer goes on with its result."""
    without: tuple[int, ...] = ()
    """Numbers of layers that have none."""
    sizes: Mapping[int, int] = field(default_factory=dict)
    """Bottleneck sizes of layers that have another one than the form says."""
    invertible: float | None = None
    """Reduction factor of the invertible adapter behind the embeddings; None: it has none."""

    def form_in(self, layer: int) -> BottleneckSettings:
        """Return the form in one layer."""
        size = self.sizes.get(layer, self.form.bottleneck_size)
        return replace(self.form, bottleneck_size=size)


class AdapterSite(nn.Module):
    """The adapters at one place of one layer, and how they work together."""

    def __init__(self, hidden_size: int, norm: Callable[[Tensor], Tensor] | None = None) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.adapters = nn.ModuleDict()
        self.fusions = nn.ModuleDict()
        self.weights = nn.ModuleDict()
        self.settings: dict[str, AdapterSettings] = {}
        self.active: Composition | None = None
        self.is_dropped = False
        """Whether it does nothing for now, as where there is no adapter."""
        self._stream: Tensor | None = None
        self._norm = [norm]  # in a list: the LayerNorm is the backbone's, not a part of this

    def forward(self, h: Tensor, x: Tensor, stream: Tensor | None = None) -> Tensor:
        """Return what the layer goes on with instead of h, (B, T, D); without a stream r is x."""
        if self.active is None or self.is_dropped or not self.adapters:
            return h
        self._stream = x if stream is None else stream
        changed = self._changed(self.active, h, x)
        self._stream = None
        return changed

    def stacked(self) -> list[tuple[BottleneckAdapter, AdapterSettings]] | None:
        """Return what is active, in order; None where it is more than one after the other."""
        parts = [] if self.active is None else list(parts_of(self.active))
        if not all(isinstance(part, Stack) for part in parts):
            return None
        names = [] if self.active is None else list(names_in(self.active))
        modules = [(name, self.adapters[name]) for name in names if name in self.adapters]
        return [
            (adapter, self.settings[name])
            for name, adapter in modules
            if isinstance(adapter, BottleneckAdapter)
        ]

    def _changed(self, composition: Composition, h: Tensor, x: Tensor) -> Tensor:
        if isinstance(composition, str):
            if composition not in self.adapters:  # a layer that has none of it
                return h
            adapter = self.adapters[composition]
            seen, residual = self._prepare(composition, h, x)
            result: Tensor = adapter(seen, residual)
            return result
        if isinstance(composition, Stack):
            for child in composition.children:
                h = self._changed(child, h, x)
            return h
        if isinstance(composition, Fuse):
            return self._fuse(composition, h, x)
        results = [self._changed(child, h, x) for child in composition.children]
        if isinstance(composition, Average):
            return mean_of(results, composition)
        mixed: Tensor = self.weights[module_name(composition)](torch.stack(results))
        return mixed

    def _fuse(self, composition: Fuse, h: Tensor, x: Tensor) -> Tensor:
        here = [name for name in composition.children if name in self.adapters]
        if not here:
            return h
        # As the library does, the last adapter's settings decide what all of them see.
        seen, residual = self._prepare(here[-1], h, x)
        adapters = [self.adapters[name] for name in here]
        changes = [a.change(seen) for a in adapters if isinstance(a, BottleneckAdapter)]
        fusion = self.fusions[module_name(composition)]
        fused: Tensor = fusion(h, seen, torch.stack(changes, dim=2), residual)
        return fused

    def _prepare(self, name: str, h: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return what an adapter sees, and what is added to its change."""
        settings = self.settings[name]
        stream = x if self._stream is None else self._stream
        if settings.sees in ("input", "stream"):
            return x if settings.sees == "input" else stream, h
        seen = h
        if settings.sees == "normalised":
            norm = self._norm[0]
            seen = h + stream if norm is None else norm(h + stream)
        if settings.residual == "seen":
            return seen, seen
        return seen, h + stream if settings.residual == "sum" else h
