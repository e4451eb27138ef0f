"""Where adapters sit in each architecture: a table, so that transformers stays unedited.

A new architecture is one entry: where its layers are, and inside a layer the dense module that
ends attention, the two of the FFN, the LayerNorm after each half, and how the FFN half is called;
how the head makes logits of the last hidden states; and what the config calls the FFN's size and
activation. What is needed of it: the dense modules that end
attention and the FFN are followed by dropout, residual sum and LayerNorm (post-LN), and the head
looks at the first token alone.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor, nn

Position = Literal["attention", "ffn"]
"""Half of a layer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Architecture:
    """Paths of the modules that matter, in a backbone and in one of its layers."""

    layer_list: str
    attention_output: str
    attention_norm: str
    ffn_input: str
    ffn_output: str
    ffn_norm: str
    ffn_half: Callable[[nn.Module, Tensor], Tensor]
    """(layer, attention's normalised output) -> the layer's output."""
    head: Callable[[nn.Module, Tensor], Tensor]
    """(classifier, the backbone's last hidden states (B, T, D)) -> logits (B, C); it looks at the
    first token alone."""
    ffn_size_setting: str
    """Name, in the model's config, of the number of FFN units."""
    activation_setting: str
    """Name, in the model's config, of the FFN's activation."""

    def layers(self, backbone: nn.Module) -> nn.ModuleList:
        """Return the list of transformer layers."""
        layers = backbone.get_submodule(self.layer_list)
        if not isinstance(layers, nn.ModuleList):
            raise TypeError(f"{self.layer_list} is a {type(layers).__name__}, not a list of layers")
        return layers

    def site(self, layer: nn.Module, position: Position) -> tuple[nn.Module, nn.Module]:
        """Return the dense module that ends a half of a layer, and the LayerNorm after the sum."""
        paths = {
            "attention": (self.attention_output, self.attention_norm),
            "ffn": (self.ffn_output, self.ffn_norm),
        }
        dense, norm = (layer.get_submodule(path) for path in paths[position])
        return dense, norm

    def residual_source(self, layer: nn.Module, position: Position) -> nn.Module:
        """Return the module whose input is added to what a half's dense module gives."""
        return layer if position == "attention" else layer.get_submodule(self.ffn_input)

    def hidden_size(self, backbone: nn.Module) -> int:
        """Return D, read from the first layer's FFN output."""
        dense = self.layers(backbone)[0].get_submodule(self.ffn_output)
        if not isinstance(dense, nn.Linear):
            raise TypeError(f"{self.ffn_output} is a {type(dense).__name__}, not a linear layer")
        return dense.out_features


# Any: torch types every submodule as a tensor or a module.
def _bert_ffn_half(layer: Any, hidden: Tensor) -> Tensor:
    output: Tensor = layer.output(layer.intermediate(hidden), hidden)
    return output


def _distilbert_ffn_half(layer: Any, hidden: Tensor) -> Tensor:
    output: Tensor = layer.output_layer_norm(layer.ffn(hidden) + hidden)
    return output


# Any: as above.
def _pooled_head(model: Any, hidden: Tensor) -> Tensor:
    logits: Tensor = model.classifier(model.dropout(model.base_model.pooler(hidden)))
    return logits


def _sequence_head(model: Any, hidden: Tensor) -> Tensor:
    logits: Tensor = model.classifier(hidden)
    return logits


def _context_head(model: Any, hidden: Tensor) -> Tensor:
    logits: Tensor = model.classifier(model.dropout(model.pooler(hidden)))
    return logits


def _distilbert_head(model: Any, hidden: Tensor) -> Tensor:
    units = F.relu(model.pre_classifier(hidden[:, 0]))  # (B, D)
    logits: Tensor = model.classifier(model.dropout(units))
    return logits


_BERT = Architecture(
    layer_list="encoder.layer",
    attention_output="attention.output.dense",
    attention_norm="attention.output.LayerNorm",
    ffn_input="intermediate.dense",
    ffn_output="output.dense",
    ffn_norm="output.LayerNorm",
    ffn_half=_bert_ffn_half,
    head=_pooled_head,
    ffn_size_setting="intermediate_size",
    activation_setting="hidden_act",
)

_ROBERTA = replace(_BERT, head=_sequence_head)

ARCHITECTURES = {
    "bert": _BERT,
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "electra": _ROBERTA,
    "deberta-v2": replace(_BERT, head=_context_head),
    "mpnet": Architecture(
        layer_list="encoder.layer",
        attention_output="attention.attn.o",
        attention_norm="attention.LayerNorm",
        ffn_input="intermediate.dense",
        ffn_output="output.dense",
        ffn_norm="output.LayerNorm",
        ffn_half=_bert_ffn_half,
        head=_sequence_head,
        ffn_size_setting="intermediate_size",
        activation_setting="hidden_act",
    ),
    "distilbert": Architecture(
        layer_list="transformer.layer",
        attention_output="attention.out_lin",
        attention_norm="sa_layer_norm",
        ffn_input="ffn.lin1",
        ffn_output="ffn.lin2",
        ffn_norm="output_layer_norm",
        ffn_half=_distilbert_ffn_half,
        head=_distilbert_head,
        ffn_size_setting="hidden_dim",
        activation_setting="activation",
    ),
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
