"""Record of an architecture: the modules of a layer that matter, and the way it runs.

The entries are in models/architectures/table.py.

Shapes: B = batch, T = tokens, D = hidden size.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor, nn

from models.architectures.dense import weight_of
from models.architectures.heads import SPAN_HEAD, Head

Position = Literal["attention", "ffn"]
"""Half of a layer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Architecture:
    """Paths of the modules that matter, in a backbone and in one of its layers."""

    layer_list: str
    attention_output: str
    attention_norm: str
    """LayerNorm after attention's residual sum; before attention where `norm_first`."""
    ffn_input: str
    """The first dense module of the FFN; the gating one where it is `gated`."""
    ffn_output: str
    ffn_norm: str
    """LayerNorm after the FFN's residual sum; before the FFN where `norm_first`."""
    sequence_head: Head
    """Head of a model that answers once per text."""
    token_head: Head
    """Head of a model that answers for every token."""
    ffn_size_setting: str
    """Name, in the model's config, of the number of FFN units."""
    activation_setting: str
    """Name, in the model's config, of the FFN's activation."""
    span_head: Head = SPAN_HEAD
    """Head of a model that finds the first and the last token of an answer."""
    language_head: Head | None = None
    """Head of a model that continues texts, which its checkpoint holds; None for encoders."""
    ffn: Callable[[nn.Module, Tensor], Tensor] | None = None
    """(layer, what attention's half gives) -> the layer's hidden states; None where `norm_first`,
    whose layers all do the same."""
    norm_first: bool = False
    """LayerNorm stands before each half (pre-LN), and the residual sum has none after it."""
    halves: tuple[str, str] | None = None
    """Modules of attention and FFN that read the LayerNorm's result, in pre-LN layers."""
    gated: bool = False
    """The FFN's units are products of two dense layers (Shazeer, 2020, GLU)."""
    bias_settings: Mapping[str, str] = field(default_factory=dict)
    """Settings of the model's config that give dense layers a bias, each with the module. Only
    architectures whose checkpoints have no biases name some."""
    shared_layers: bool = False
    """One layer is run several times, with one set of weights."""
    first_layer_differs: bool = False
    """The first layer lacks a module that the others have."""
    layer_result: Callable[[Tensor], object] = lambda hidden: hidden
    """(hidden states) -> result of a layer."""
    unsupported: Callable[[Any], str | None] = lambda _: None
    """(config) -> why sites are not where this entry says, in a sentence; None if they are."""

    def layers(self, backbone: nn.Module) -> nn.ModuleList:
        """Return the list of transformer layers."""
        layers = backbone.get_submodule(self.layer_list)
        if not isinstance(layers, nn.ModuleList):
            raise TypeError(f"{self.layer_list} is a {type(layers).__name__}, not a list of layers")
        return layers

    def dense(self, layer: nn.Module, position: Position) -> nn.Module:
        """Return the dense module that ends a half of a layer."""
        path = self.attention_output if position == "attention" else self.ffn_output
        return layer.get_submodule(path)

    def norm_after(self, layer: nn.Module, position: Position) -> nn.Module | None:
        """Return the LayerNorm whose result a layer goes on with after a half; None if pre-LN."""
        if self.norm_first:
            return None
        path = self.attention_norm if position == "attention" else self.ffn_norm
        return layer.get_submodule(path)

    def norm_before(self, layer: nn.Module, position: Position) -> nn.Module:
        """Return the LayerNorm before a half of a pre-LN layer: it is given the residual."""
        path = self.attention_norm if position == "attention" else self.ffn_norm
        return layer.get_submodule(path)

    def norm_of_middle(self, layer: nn.Module) -> nn.Module:
        """Return the LayerNorm that is given the residual sum after attention."""
        path = self.ffn_norm if self.norm_first else self.attention_norm
        return layer.get_submodule(path)

    def ffn_half(self, layer: nn.Module, hidden: Tensor) -> Tensor:
        """Return a layer's hidden states, given what its attention's half gives, (B, T, D)."""
        if self.ffn is not None:
            return self.ffn(layer, hidden)
        normalised = self.norm_before(layer, "ffn")(hidden)
        output: Tensor = hidden + self.input_source(layer, "ffn")(normalised)
        return output

    def after(self, layer: nn.Module, position: Position, total: Tensor) -> Tensor:
        """Return what a layer goes on with after a half, given its residual sum (..., D)."""
        norm = self.norm_after(layer, position)
        result: Tensor = total if norm is None else norm(total)
        return result

    def input_source(self, layer: nn.Module, position: Position) -> nn.Module:
        """Return the module that a half's input enters: where a parallel adapter sees it.

        In post-LN layers that input is the residual too: what is added to the half's result.
        """
        if self.halves is not None:
            return layer.get_submodule(self.halves[position == "ffn"])
        return layer if position == "attention" else layer.get_submodule(self.ffn_input)

    def hidden_size(self, backbone: nn.Module) -> int:
        """Return D, read from the first layer's FFN output."""
        return weight_of(self.layers(backbone)[0].get_submodule(self.ffn_output)).shape[0]

    def ffn_size(self, backbone: nn.Module) -> int:
        """Return the number of FFN units, read from the first layer."""
        return weight_of(self.layers(backbone)[0].get_submodule(self.ffn_output)).shape[1]
