"""Heads: from last hidden states to outputs of texts or tokens, as in each family of models.

First the tokens that a head reads are chosen, then outputs are computed from them. transformers
does both inside ``forward``. Here they are separate, so a head can be trained on cached features. A
walk through the layers then also knows which tokens count.

Shapes: B = batch, T = tokens, D = hidden size, C = outputs (logits of C classes, or one number).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# Any: torch types every submodule as a tensor or a module.
Pooling = Callable[[Any, Tensor, Mapping[str, Tensor]], Tensor]
"""(model, last hidden states (B, T, D), batch) -> what its head reads, (B, 1, D) or (B, T, D)."""


def all_tokens(mask: Tensor) -> Tensor:
    """Return that every real token counts, (B, T)."""
    return mask.bool()


def first_tokens(mask: Tensor) -> Tensor:
    """Return that the first token alone counts, (B, T)."""
    counts = mask.bool().clone()
    counts[:, 1:] = False
    return counts


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """A head: the tokens that it reads, and what it makes of them."""

    apply: Callable[[Any, Tensor], Tensor]
    """(model, what `pooling` returns) -> outputs (B, C), or (B, T, C) for every token."""
    last: str
    """Path of its last dense layer."""
    pooling: Pooling
    counting: Callable[[Tensor], Tensor] = all_tokens
    """(mask (B, T)) -> which tokens of the last layer reach the head, (B, T)."""


def first_token(_model: Any, hidden: Tensor, _batch: Mapping[str, Tensor]) -> Tensor:
    """Return the first token's hidden states."""
    return hidden[:, :1]


def last_token(model: Any, hidden: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
    """Return the hidden states of the last token that is no padding, as transformers picks it."""
    numbers = torch.arange(hidden.shape[1], device=hidden.device)
    last = (numbers * (batch["input_ids"] != model.config.pad_token_id)).argmax(dim=-1)  # (B,)
    return hidden[torch.arange(len(hidden), device=hidden.device), last][:, None]


def modernbert_pooling(model: Any, hidden: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
    """Return the first token's hidden states, or the mean of all, as the config says."""
    if model.config.classifier_pooling == "cls":
        return hidden[:, :1]
    mask = batch["attention_mask"][..., None]  # (B, T, 1)
    return (hidden * mask).sum(dim=1, keepdim=True) / mask.sum(dim=1, keepdim=True)


def pooled_head(model: Any, hidden: Tensor) -> Tensor:
    """Return logits through the backbone's pooler: BERT."""
    logits: Tensor = model.classifier(model.dropout(model.base_model.pooler(hidden)))
    return logits


def albert_head(model: Any, hidden: Tensor) -> Tensor:
    """Return logits through ALBERT's pooler, which is a linear layer and its activation."""
    backbone = model.base_model
    units = backbone.pooler_activation(backbone.pooler(hidden[:, 0]))  # (B, D)
    logits: Tensor = model.classifier(model.dropout(units))
    return logits


def sequence_head(model: Any, hidden: Tensor) -> Tensor:
    """Return logits of a classifier that takes hidden states whole: RoBERTa, ELECTRA, MPNet."""
    logits: Tensor = model.classifier(hidden)
    return logits


def context_head(model: Any, hidden: Tensor) -> Tensor:
    """Return logits through the classifier's own pooler: DeBERTa."""
    logits: Tensor = model.classifier(model.dropout(model.pooler(hidden)))
    return logits


def distilbert_head(model: Any, hidden: Tensor) -> Tensor:
    """Return DistilBERT's logits."""
    units = F.relu(model.pre_classifier(hidden[:, 0]))  # (B, D)
    logits: Tensor = model.classifier(model.dropout(units))
    return logits


def modernbert_head(model: Any, hidden: Tensor) -> Tensor:
    """Return ModernBERT's logits."""
    logits: Tensor = model.classifier(model.drop(model.head(hidden[:, 0])))
    return logits


def score_head(model: Any, hidden: Tensor) -> Tensor:
    """Return a decoder's logits: one linear layer, without a bias."""
    logits: Tensor = model.score(hidden[:, 0])
    return logits


def all_hidden(_model: Any, hidden: Tensor, _batch: Mapping[str, Tensor]) -> Tensor:
    """Return the hidden states of every token, (B, T, D)."""
    return hidden


def token_head(model: Any, hidden: Tensor) -> Tensor:
    """Return logits of every token, (B, T, C): one dense layer."""
    logits: Tensor = model.classifier(model.dropout(hidden))
    return logits


def modernbert_token_head(model: Any, hidden: Tensor) -> Tensor:
    """Return ModernBERT's logits of every token."""
    logits: Tensor = model.classifier(model.drop(model.head(hidden)))
    return logits


def token_score_head(model: Any, hidden: Tensor) -> Tensor:
    """Return a decoder's logits of every token."""
    logits: Tensor = model.score(model.dropout(hidden))
    return logits


def span_head(model: Any, hidden: Tensor) -> Tensor:
    """Return two logits of every token, (B, T, 2): that a span begins there, and ends there."""
    logits: Tensor = model.qa_outputs(hidden)
    return logits


def distilbert_span_head(model: Any, hidden: Tensor) -> Tensor:
    """Return DistilBERT's logits of a span's ends."""
    logits: Tensor = model.qa_outputs(model.dropout(hidden))
    return logits


def language_head(model: Any, hidden: Tensor) -> Tensor:
    """Return logits of the token that follows each, over the whole vocabulary."""
    logits: Tensor = model.lm_head(hidden)
    return logits


def _first(apply: Callable[[Any, Tensor], Tensor], last: str = "classifier") -> Head:
    return Head(apply=apply, last=last, pooling=first_token, counting=first_tokens)


POOLED_HEAD = _first(pooled_head)
ALBERT_HEAD = _first(albert_head)
SEQUENCE_HEAD = _first(sequence_head, "classifier.out_proj")
CONTEXT_HEAD = _first(context_head)
DISTILBERT_HEAD = _first(distilbert_head)
MODERNBERT_HEAD = Head(apply=modernbert_head, last="classifier", pooling=modernbert_pooling)
TOKEN_HEAD = Head(apply=token_head, last="classifier", pooling=all_hidden)
MODERNBERT_TOKEN_HEAD = Head(apply=modernbert_token_head, last="classifier", pooling=all_hidden)
TOKEN_SCORE_HEAD = Head(apply=token_score_head, last="score", pooling=all_hidden)
SPAN_HEAD = Head(apply=span_head, last="qa_outputs", pooling=all_hidden)
DISTILBERT_SPAN_HEAD = Head(apply=distilbert_span_head, last="qa_outputs", pooling=all_hidden)
LANGUAGE_HEAD = Head(apply=language_head, last="lm_head", pooling=all_hidden)
SCORE_HEAD = Head(apply=score_head, last="score", pooling=last_token)
