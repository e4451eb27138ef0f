"""Table of the adapters' sites in each architecture, so that transformers stays unedited.

A new architecture is one entry. It names the place of the layers. Inside a layer these are the last
dense module of attention, the two of the FFN, and both LayerNorms. It names the head's tokens and
logits, and the config's names for size and activation of the FFN. In post-LN models (BERT and its
like) LayerNorm follows each residual sum. In pre-LN models (ModernBERT and decoders) it comes
before each half. models/architectures/architecture.py explains the fields.

Shapes: B = batch, T = tokens, D = hidden size.
"""

from dataclasses import replace
from typing import Any

from torch import Tensor

from models.architectures.architecture import Architecture
from models.architectures.heads import (
    ALBERT_HEAD,
    CONTEXT_HEAD,
    DISTILBERT_HEAD,
    DISTILBERT_SPAN_HEAD,
    LANGUAGE_HEAD,
    MODERNBERT_HEAD,
    MODERNBERT_TOKEN_HEAD,
    POOLED_HEAD,
    SCORE_HEAD,
    SEQUENCE_HEAD,
    TOKEN_HEAD,
    TOKEN_SCORE_HEAD,
)


# Any: torch types every submodule as a tensor or a module.
def _bert_ffn(layer: Any, hidden: Tensor) -> Tensor:
    output: Tensor = layer.output(layer.intermediate(hidden), hidden)
    return output


def _distilbert_ffn(layer: Any, hidden: Tensor) -> Tensor:
    output: Tensor = layer.output_layer_norm(layer.ffn(hidden) + hidden)
    return output


def _albert_ffn(layer: Any, hidden: Tensor) -> Tensor:
    output: Tensor = layer.full_layer_layer_norm(layer.ff_chunk(hidden) + hidden)
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
    ffn=_bert_ffn,
    sequence_head=POOLED_HEAD,
    token_head=TOKEN_HEAD,
    ffn_size_setting="intermediate_size",
    activation_setting="hidden_act",
)

_ROBERTA = replace(_BERT, sequence_head=SEQUENCE_HEAD)

_LLAMA = Architecture(
    layer_list="layers",
    attention_output="self_attn.o_proj",
    attention_norm="input_layernorm",
    ffn_input="mlp.gate_proj",
    ffn_output="mlp.down_proj",
    ffn_norm="post_attention_layernorm",
    sequence_head=SCORE_HEAD,
    token_head=TOKEN_SCORE_HEAD,
    language_head=LANGUAGE_HEAD,
    ffn_size_setting="intermediate_size",
    activation_setting="hidden_act",
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
        sequence_head=CONTEXT_HEAD,
        layer_result=lambda hidden: (hidden, None),
        unsupported=_deberta_unsupported,
    ),
    "mpnet": replace(
        _BERT,
        attention_output="attention.attn.o",
        attention_norm="attention.LayerNorm",
        sequence_head=SEQUENCE_HEAD,
        layer_result=lambda hidden: (hidden,),
    ),
    "distilbert": Architecture(
        layer_list="transformer.layer",
        attention_output="attention.out_lin",
        attention_norm="sa_layer_norm",
        ffn_input="ffn.lin1",
        ffn_output="ffn.lin2",
        ffn_norm="output_layer_norm",
        ffn=_distilbert_ffn,
        sequence_head=DISTILBERT_HEAD,
        span_head=DISTILBERT_SPAN_HEAD,
        token_head=TOKEN_HEAD,
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
        ffn=_albert_ffn,
        sequence_head=ALBERT_HEAD,
        token_head=TOKEN_HEAD,
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
        sequence_head=MODERNBERT_HEAD,
        token_head=MODERNBERT_TOKEN_HEAD,
        span_head=MODERNBERT_TOKEN_HEAD,
        ffn_size_setting="intermediate_size",
        activation_setting="hidden_activation",
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
        sequence_head=SCORE_HEAD,
        token_head=TOKEN_HEAD,
        language_head=LANGUAGE_HEAD,
        ffn_size_setting="n_inner",
        activation_setting="activation_function",
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
            "models/architectures/table.py."
        )
    return ARCHITECTURES[model_type]
