"""The torch half of a language model: its losses, and readings of its logits.

A model of V words gives V logits for every token. Logits of a whole batch are too many for memory,
so its outputs are the hidden states. The head makes logits of a chunk of tokens at a time. It does
so again in the backward pass (Chen et al., 2016, https://arxiv.org/abs/1604.06174). Labels are
shifted before: a token's label is the token that follows.

Shapes: B = batch, T = tokens, D = hidden size, V = size of the vocabulary, M = some tokens,
K = words of a reading, R = numbers of a reading (models/token_layout.py).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers import AutoModelForCausalLM, PreTrainedModel

from models.architectures.architecture import Architecture
from models.architectures.heads import Head
from models.architectures.table import architecture_of
from models.losses import Objective, count_tokens, token_cross_entropy
from models.span_losses import IGNORED
from models.token_layout import (
    FOLLOWING,
    LIKELIEST,
    LOG_PROBABILITY,
    SIZE_BYTES,
    TAIL,
    WORDS,
    count_words,
    words_of,
)

_MOST_LOGITS = 16_000_000
"""Logits that exist at once: 64 MB of float32."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WordHead:
    """A model's head over its vocabulary, for some tokens at a time."""

    apply: Callable[[Tensor], Tensor]
    """(hidden states (M, 1, D)) -> logits (M, 1, V)."""
    chunk: int
    """Tokens at a time."""


def word_head(model: PreTrainedModel) -> WordHead:
    """Return the head of a language model."""
    head = _language_head(architecture_of(model.config.model_type))
    chunk = max(1, _MOST_LOGITS // int(model.config.vocab_size))
    return WordHead(apply=partial(head.apply, model), chunk=chunk)


def following_tokens(ids: Tensor, mask: Tensor) -> Tensor:
    """Return the id of the token that follows each, (B, T); -100 where none follows."""
    labels = torch.full_like(ids, IGNORED)
    is_pair = (mask[:, 1:] == 1) & (mask[:, :-1] == 1)
    labels[:, :-1] = torch.where(is_pair, ids[:, 1:], IGNORED)
    return labels


def read_logits(logits: Tensor, following: Tensor, words: Tensor | None) -> Tensor:
    """Return the readings of some tokens, (M, R).

    Args:
        logits: (M, V).
        following: (M,), the ids that follow.
        words: (M, K), ids that the readings are of; None takes the likeliest.
    """
    logs = logits.float().log_softmax(dim=-1)  # (M, V)
    if words is None:
        words = logs.topk(words_of(logs.shape[1])).indices
    rest = logs.scatter(1, words, -torch.inf).logsumexp(dim=1)
    columns = torch.empty(len(logs), WORDS, device=logs.device)
    columns[:, FOLLOWING] = following.float()
    columns[:, LOG_PROBABILITY] = logs.gather(1, following[:, None].long())[:, 0]
    columns[:, LIKELIEST] = logs.argmax(dim=1).float()
    columns[:, SIZE_BYTES] = 0.0
    columns[:, TAIL] = rest
    return torch.cat([columns, words.float(), logs.gather(1, words)], dim=1)


def tail_kl(student_logits: Tensor, readings: Tensor, temperature: float) -> Tensor:
    """Return ``T**2 * KL(teacher || student)`` of each example's tokens, summed, in nats.

    Both distributions are those of a reading's words and its tail, softened by T. It is a lower
    bound of the divergence of all words, and zero where student equals teacher.

    Args:
        student_logits: (B, T, V).
        readings: (B, T, R), the teacher's; NaN where no token follows, which does not count.
        temperature: T above.
    """
    real = ~readings[..., FOLLOWING].isnan()  # (B, T)
    teacher = readings[real]  # (M, R)
    count = count_words(teacher.shape[1])
    words = teacher[:, WORDS : WORDS + count].long()
    found = student_logits[real]
    logs = found.to(torch.promote_types(found.dtype, torch.float32)).log_softmax(dim=-1)
    rest = logs.scatter(1, words, -torch.inf).logsumexp(dim=1, keepdim=True)
    own = torch.cat([logs.gather(1, words), rest], dim=1)  # (M, K + 1)
    wanted = torch.cat([teacher[:, WORDS + count :], teacher[:, TAIL, None]], dim=1)
    per_word = F.kl_div(
        (own / temperature).log_softmax(dim=-1),
        (wanted.to(own.dtype) / temperature).log_softmax(dim=-1),
        reduction="none",
        log_target=True,
    )
    sums = own.new_zeros(real.shape)
    return temperature**2 * sums.masked_scatter(real, per_word.sum(dim=-1)).sum(dim=-1)  # (B,)


def loss_by_chunks(
    loss: Callable[[Tensor, Tensor], Tensor], head: WordHead
) -> Callable[[Tensor, Tensor], Tensor]:
    """Return a loss of logits as one of hidden states: (hidden, labels) -> a value per token.

    Tokens that nothing follows are left out.

    Args:
        loss: (logits (B, T, V), labels (B, T) or (B, T, R)) -> a value per example, or several.
        head: What makes logits.
    """

    def of_chunk(hidden: Tensor, labels: Tensor) -> Tensor:
        return loss(head.apply(hidden), labels)

    def of_hidden(hidden: Tensor, labels: Tensor) -> Tensor:
        counts = _counts(labels)
        states, wanted = hidden[counts][:, None], labels[counts][:, None]  # (M, 1, ...)
        parts = zip(states.split(head.chunk), wanted.split(head.chunk), strict=True)
        return torch.cat([checkpoint(of_chunk, *part, use_reentrant=False) for part in parts])

    return of_hidden


@torch.no_grad()
def read_hidden(hidden: Tensor, labels: Tensor, head: WordHead) -> Tensor:
    """Return the readings of hidden states, (B, T, R); NaN where no token follows.

    Args:
        hidden: (B, T, D).
        labels: (B, T), the ids that follow; or a teacher's readings (B, T, R), whose words are
            read.
        head: What makes logits.
    """
    counts = _counts(labels)
    states, wanted = hidden[counts][:, None], labels[counts]
    words = None
    if labels.dim() == 3:
        count = count_words(labels.shape[2])
        words, wanted = wanted[:, WORDS : WORDS + count].long(), wanted[:, FOLLOWING]
    rows = []
    for at in range(0, max(1, len(states)), head.chunk):
        part = slice(at, at + head.chunk)
        logits = head.apply(states[part])[:, 0]
        rows.append(read_logits(logits, wanted[part], None if words is None else words[part]))
    found = torch.cat(rows)
    readings = found.new_full((*counts.shape, found.shape[1]), torch.nan)
    readings[counts] = found
    return readings


# Any: transformers types the inputs of every model otherwise.
def kept_outputs(
    model: PreTrainedModel,
    objective: Objective,
    inputs: Mapping[str, Any],
    chosen: Tensor | None = None,
) -> Tensor:
    """Return a model's outputs, (B, ...), or readings of them where they are too many to keep.

    Args:
        chosen: A teacher's readings, whose words are read; None takes the model's likeliest.
    """
    outputs = objective.outputs(model, inputs)
    if not objective.is_read:
        return outputs
    if chosen is None:
        chosen = following_tokens(inputs["input_ids"], inputs["attention_mask"])
    return read_hidden(outputs, chosen, word_head(model))


# Any: as above.
def word_margins(model: PreTrainedModel, inputs: Mapping[str, Any]) -> Tensor:
    """Return how far the likeliest word is before the next one at each token, (B, T).

    Gradients flow through these two words' rows of the head alone.
    """
    hidden: Tensor = model.base_model(**inputs).last_hidden_state
    mask, head = inputs["attention_mask"], word_head(model)
    real = mask == 1
    with torch.no_grad():
        parts = hidden[real][:, None].split(head.chunk)
        best = torch.cat([head.apply(part)[:, 0].topk(2).indices for part in parts])  # (M, 2)
    rows = cast(Tensor, model.get_output_embeddings().weight)[best]  # (M, 2, D)
    margins = (hidden[real] * (rows[:, 0] - rows[:, 1])).sum(dim=-1)
    return hidden.new_zeros(mask.shape).masked_scatter(real, margins)


def _counts(labels: Tensor) -> Tensor:
    """Return which tokens another one follows, (B, T)."""
    following = labels[..., FOLLOWING] if labels.dim() == 3 else labels
    return following >= 0  # neither -100 nor NaN


def _language_head(architecture: Architecture) -> Head:
    if architecture.language_head is None:
        raise ValueError("this architecture has no head that continues texts")
    return architecture.language_head


# Any: as for the other objectives.
def _no_settings(_names: Sequence[str]) -> dict[str, Any]:
    return {}


LANGUAGE_OBJECTIVE = Objective(
    model_class=AutoModelForCausalLM,
    output_names=("logits",),
    head=_language_head,
    head_settings=_no_settings,
    hard=token_cross_entropy,
    soft=tail_kl,
    margins=word_margins,
    count=count_tokens,
    is_read=True,
)
"""The token that follows each token of a text."""
