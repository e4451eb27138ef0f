"""Where adapters sit in each architecture: a table, so that transformers stays unedited.

A new architecture is one entry: where its layers are, and inside a layer the dense module that
ends attention, the two of the FFN, the LayerNorm of each half, and how the FFN half is called;
which tokens the head looks at and how it makes logits of them; and what the config calls the FFN's
size and activation. Two families are known: LayerNorm after each residual sum (post-LN: BERT and
its like), and before each half (pre-LN: ModernBERT and decoders).

Shapes: B = batch, T = tokens, D = hidden size, C = classes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from torch import Tensor, nn

from models.dense import weight_of
from models.heads import (
    Pooling,
    albert_head,
    context_head,
    distilbert_head,
    first_token,
    last_token,
    modernbert_head,
    modernbert_pooling,
    pooled_head,
    score_head,
    sequence_head,
)

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
    ffn_half: Callable[[nn.Module, Tensor], Tensor]
    """(layer, what attention's half gives) -> the layer's hidden states."""
    head: Callable[[nn.Module, Tensor], Tensor]
    """(classifier, what `pooling` returns) -> logits (B, C)."""
    ffn_size_setting: str
    """Name, in the model's config, of the number of FFN units."""
    activation_setting: str
    """Name, in the model's config, of the FFN's activation."""
    pooling: Pooling = first_token
    norm_first: bool = False
    """LayerNorm stands before each half (pre-LN), and the residual sum has none after it."""
    halves: tuple[str, str] | None = None
    """Of pre-LN layers, the modules that LayerNorm's result enters: attention's and the FFN's."""
    gated: bool = False
    """The FFN's units are products of two dense layers (Shazeer, 2020, GLU)."""
    bias_settings: Mapping[str, str] = field(default_factory=dict)
    """Names, in the model's config, that give the dense layers of a layer's module a bias, with
    that module; for those whose checkpoints have none."""
    shared_layers: bool = False
    """One layer is run several times, with one set of weights."""
    first_layer_differs: bool = False
    """The first layer lacks a module that the others have."""
    layer_result: Callable[[Tensor], object] = lambda hidden: hidden
    """What a layer returns, made of its hidden states."""
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


# Any: torch types every submodule as a tensor or a module.
def _bert_ffn_half(layer: Any, hidden: Tensor) -> Tensor:
    output: Tensor = layer.output(layer.intermediate(hidden), hidden)
    return output


def _distilbert_ffn_half(layer: Any, hidden: Tensor) -> Tensor:
    output: Tensor = layer.output_layer_norm(layer.ffn(hidden) + hidden)
    return output


def _albert_ffn_half(layer: Any, hidden: Tensor) -> Tensor:
    output: Tensor = layer.full_layer_layer_norm(layer.ff_chunk(hidden) + hidden)
    return output


def _gpt2_ffn_half(layer: Any, hidden: Tensor) -> Tensor:
    output: Tensor = hidden + layer.mlp(layer.ln_2(hidden))
    return output


def _llama_ffn_half(layer: Any, hidden: Tensor) -> Tensor:
    output: Tensor = hidden + layer.mlp(layer.post_attention_layernorm(hidden))
    return output


def _modernbert_ffn_half(layer: Any, hidden: Tensor) -> Tensor:
    output: Tensor = hidden + layer.mlp(layer.mlp_norm(hidden))
    return output


def _deberta_unsupported(config: Any) -> str | None:
    if getattr(config, "conv_kernel_size", 0):
        return "its first layer's output passes a convolution (conv_kernel_size)"
    return None


def _albert_unsupported(config: Any) -> str | None:
    if config.num_hidden_groups > 1 or config.inner_group_num > 1:
        return "it has several groups of layers (num_hidden_groups, inner_group_num)"
    return None


_BERT = Architecture(
    layer_list="encoder.layer",
    attention_output="attention.output.dense",
    attention_norm="attention.output.LayerNorm",
    ffn_input="intermediate.dense",
    ffn_output="output.dense",
    ffn_norm="output.LayerNorm",
    ffn_half=_bert_ffn_half,
    head=pooled_head,
    ffn_size_setting="intermediate_size",
    activation_setting="hidden_act",
)

_ROBERTA = replace(_BERT, head=sequence_head)

_LLAMA = Architecture(
    layer_list="layers",
    attention_output="self_attn.o_proj",
    attention_norm="input_layernorm",
    ffn_input="mlp.gate_proj",
    ffn_output="mlp.down_proj",
    ffn_norm="post_attention_layernorm",
    ffn_half=_llama_ffn_half,
    head=score_head,
    ffn_size_setting="intermediate_size",
    activation_setting="hidden_act",
    pooling=last_token,
    norm_first=True,
    halves=("self_attn", "mlp"),
    gated=True,
)

ARCHITECTURES = {
    "bert": _BERT,
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "electra": _ROBERTA,
    "deberta-v2": replace(
        _BERT,
        head=context_head,
        layer_result=lambda hidden: (hidden, None),
        unsupported=_deberta_unsupported,
    ),
    "mpnet": replace(
        _BERT,
        attention_output="attention.attn.o",
        attention_norm="attention.LayerNorm",
        head=sequence_head,
        layer_result=lambda hidden: (hidden,),
    ),
    "distilbert": Architecture(
        layer_list="transformer.layer",
        attention_output="attention.out_lin",
        attention_norm="sa_layer_norm",
        ffn_input="ffn.lin1",
        ffn_output="ffn.lin2",
        ffn_norm="output_layer_norm",
        ffn_half=_distilbert_ffn_half,
        head=distilbert_head,
        ffn_size_setting="hidden_dim",
        activation_setting="activation",
    ),
    "albert": Architecture(
        layer_list="encoder.albert_layer_groups.0.albert_layers",
        attention_output="attention.dense",
        attention_norm="attention.LayerNorm",
        ffn_input="ffn",
        ffn_output="ffn_output",
        ffn_norm="full_layer_layer_norm",
        ffn_half=_albert_ffn_half,
        head=albert_head,
        ffn_size_setting="intermediate_size",
        activation_setting="hidden_act",
        shared_layers=True,
        unsupported=_albert_unsupported,
    ),
    "modernbert": Architecture(
        layer_list="layers",
        attention_output="attn.Wo",
        attention_norm="attn_norm",
        ffn_input="mlp.Wi",
        ffn_output="mlp.Wo",
        ffn_norm="mlp_norm",
        ffn_half=_modernbert_ffn_half,
        head=modernbert_head,
        ffn_size_setting="intermediate_size",
        activation_setting="hidden_activation",
        pooling=modernbert_pooling,
        norm_first=True,
        halves=("attn", "mlp"),
        gated=True,
        bias_settings={"attention_bias": "attn", "mlp_bias": "mlp"},
        first_layer_differs=True,
    ),
    "gpt2": Architecture(
        layer_list="h",
        attention_output="attn.c_proj",
        attention_norm="ln_1",
        ffn_input="mlp.c_fc",
        ffn_output="mlp.c_proj",
        ffn_norm="ln_2",
        ffn_half=_gpt2_ffn_half,
        head=score_head,
        ffn_size_setting="n_inner",
        activation_setting="activation_function",
        pooling=last_token,
        norm_first=True,
        halves=("attn", "mlp"),
    ),
    "llama": replace(_LLAMA, bias_settings={"attention_bias": "self_attn", "mlp_bias": "mlp"}),
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": replace(_LLAMA, bias_settings={"attention_bias": "self_attn"}),
}
"""Known architectures by transformers' ``model_type``."""


class UnknownArchitectureError(ValueError):
    """The backbone's architecture has no entry in the table."""


def architecture_of(model_type: str) -> Architecture:
    """Return the table's entry for a ``model_type``.

    Raises:
        UnknownArchitectureError: naming the architectures that are known.
    """
    if model_type not in ARCHITECTURES:
        raise UnknownArchitectureError(
            f"No adapter sites are known for the architecture {model_type!r}. Known are "
            f"{', '.join(sorted(ARCHITECTURES))}: choose such a model, or add an entry to "
            "models/architectures.py."
        )
    return ARCHITECTURES[model_type]
