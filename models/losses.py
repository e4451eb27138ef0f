"""The torch half of a task: its head, its loss on labels, its loss on a teacher's outputs.

Each task has one `Objective`. A stage uses it without knowing the task.

Shapes: B = batch, T = tokens, C = outputs per text or token (logits of C classes or labels, or one
number).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import (
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PreTrainedModel,
)

from models.architectures.architecture import Architecture
from models.architectures.heads import Head
from models.margins import best_margin, every_output, span_margins, token_margins
from models.span_losses import IGNORED, count_windows, span_cross_entropy, span_kl


@dataclass(frozen=True, kw_only=True, slots=True)
class Objective:
    """The torch half of a task. Both losses return one value per example."""

    # Any: transformers' auto classes have no public type in common.
    model_class: Any
    """Class of transformers that builds backbone and head."""
    output_names: tuple[str, ...]
    """Attributes of the model's result that hold the outputs, and their names in a graph. Several
    attributes have one number per token each, and are the columns of the outputs."""
    head: Callable[[Architecture], Head]
    """Head of an architecture for this task."""
    head_settings: Callable[[Sequence[str]], dict[str, Any]]
    """Settings of the model's config: (names of the outputs) -> settings."""
    hard: Callable[[Tensor, Tensor], Tensor]
    """Loss on labels: (outputs, labels) -> one value per example, (B,)."""
    soft: Callable[[Tensor, Tensor, float], Tensor]
    """Loss on the teacher's outputs: (student outputs, teacher outputs, temperature) -> (B,)."""
    margins: Callable[..., Tensor]
    """Numbers that an answer depends on: (outputs, mask (B, T)) -> margins, (B, M). Where `is_read`
    holds, the arguments are (model, its inputs). Absorption weighs tokens by their gradients."""
    standardised: bool = False
    """Whether the head trains on standardised labels (models/units.py)."""
    count: Callable[[Tensor], Tensor] | None = None
    """Number of items: (labels, or a teacher's outputs) -> items that count. Losses are sums over
    items then. None where each example is one item."""

    is_read: bool = False
    """Whether outputs are too large to keep. Losses then take hidden states in chunks, and readings
    are kept (models/next_tokens.py)."""

    # Any: transformers types the inputs of each model differently.
    def outputs(self, model: PreTrainedModel, inputs: Mapping[str, Any]) -> Tensor:
        """Return the outputs of a model, (B, C), or (B, T, C) for every token.

        Where `is_read` holds, these are its hidden states (B, T, D).
        """
        return self.outputs_in((model.base_model if self.is_read else model)(**inputs))

    # Any: every transformers model has a result type of its own.
    def outputs_in(self, result: Any) -> Tensor:
        """Return the outputs in a model's result, several as columns of one tensor, (B, T, C)."""
        names = ("last_hidden_state",) if self.is_read else self.output_names
        found = [getattr(result, name) for name in names]
        return found[0] if len(found) == 1 else torch.stack(found, dim=-1)

    def margins_of(self, model: PreTrainedModel, inputs: Mapping[str, Any], mask: Tensor) -> Tensor:
        """Return the margins of a model's outputs, (B, M), given the mask of tokens that count."""
        if self.is_read:
            return self.margins(model, inputs)
        return self.margins(self.outputs(model, inputs), mask)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the negative log-likelihood per example, in nats.

    Args:
        logits: (B, C).
        labels: (B,), class indices.
    """
    return F.cross_entropy(_at_least_float32(logits), labels.long(), reduction="none")  # (B,)


def kl_divergence(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """Return ``T**2 * KL(teacher || student)`` per example, both softened by T, in nats.

    Hinton et al., 2015, https://arxiv.org/abs/1503.02531, section 2. Soft gradients shrink with
    1 / T**2. The factor keeps them on the scale of the hard loss when T changes.

    Args:
        student_logits: (B, C).
        teacher_logits: (B, C), without gradient.
        temperature: T above.
    """
    student = F.log_softmax(_at_least_float32(student_logits) / temperature, dim=-1)
    teacher = F.log_softmax(_at_least_float32(teacher_logits) / temperature, dim=-1)
    per_class = F.kl_div(student, teacher, reduction="none", log_target=True)  # (B, C)
    return temperature**2 * per_class.sum(dim=-1)  # (B,)


def _at_least_float32(logits: Tensor) -> Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def squared_error(outputs: Tensor, labels: Tensor) -> Tensor:
    """Return the squared error per example, in squared units of the label.

    Args:
        outputs: (B, 1).
        labels: (B,), numbers.
    """
    found = _at_least_float32(outputs[:, 0])
    return (found - labels.to(found.dtype)).square()  # (B,)


def squared_distance(student: Tensor, teacher: Tensor, _temperature: float) -> Tensor:
    """Return the squared distance of two models' numbers per example, whatever the temperature.

    Args:
        student: (B, 1).
        teacher: (B, 1), without gradient.
    """
    return squared_error(student, teacher[:, 0])


def binary_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the negative log-likelihood per label, in nats, averaged over an example's labels.

    Args:
        logits: (B, C), one logit per label.
        labels: (B, C), 1 where the label applies, else 0.
    """
    found = _at_least_float32(logits)
    per_label = F.binary_cross_entropy_with_logits(found, labels.to(found.dtype), reduction="none")
    return per_label.mean(dim=-1)  # (B,)


def bernoulli_kl(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """Return ``T**2 * KL(teacher || student)`` per label, in nats, averaged over an example.

    Each label is a Bernoulli variable of its own, softened by T; see `kl_divergence` for T**2.

    Args:
        student_logits: (B, C).
        teacher_logits: (B, C), without gradient.
        temperature: T above.
    """
    student = _at_least_float32(student_logits) / temperature
    teacher = _at_least_float32(teacher_logits) / temperature
    # log(1 - sigmoid(z)) is logsigmoid(-z), which does not round to log(0).
    applies = teacher.sigmoid() * (F.logsigmoid(teacher) - F.logsigmoid(student))
    does_not = (-teacher).sigmoid() * (F.logsigmoid(-teacher) - F.logsigmoid(-student))
    return temperature**2 * (applies + does_not).mean(dim=-1)  # (B,)


def distillation_loss(
    student: Tensor,
    teacher: Tensor,
    labels: Tensor,
    *,
    objective: Objective,
    temperature: float,
    alpha: float,
) -> Tensor:
    """Return ``alpha * soft + (1 - alpha) * hard`` per example, (B,).

    Soft and hard losses over items (`Objective.count`) count different items. They are returned
    side by side, (B, 2).

    Args:
        student: Outputs, (B, C).
        teacher: Outputs, (B, C), without gradient.
        labels: (B,).
        objective: Both losses of the task.
        temperature: Temperature of both distributions in the soft loss.
        alpha: Weight of the soft loss.
    """
    soft = alpha * objective.soft(student, teacher, temperature)
    hard = (1 - alpha) * objective.hard(student, labels)
    return soft + hard if objective.count is None else torch.stack([soft, hard], dim=-1)


def token_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the negative log-likelihood of each example's labelled tokens, summed, in nats.

    Args:
        logits: (B, T, C).
        labels: (B, T), class indices; -100 for tokens that do not count.
    """
    found = _at_least_float32(logits).flatten(0, 1)  # (B * T, C)
    per_token = F.cross_entropy(
        found, labels.long().flatten(), ignore_index=IGNORED, reduction="none"
    )
    return per_token.view(labels.shape).sum(dim=-1)  # (B,)


def token_kl(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """Return `kl_divergence` of each example's real tokens, summed.

    Args:
        student_logits: (B, T, C).
        teacher_logits: (B, T, C), without gradient; NaN for padding, which does not count.
        temperature: T of `kl_divergence`.
    """
    real = ~teacher_logits[..., 0].isnan()  # (B, T)
    per_token = kl_divergence(student_logits[real], teacher_logits[real], temperature)
    sums = per_token.new_zeros(real.shape)
    return sums.masked_scatter(real, per_token).sum(dim=-1)  # (B,)


def count_tokens(values: Tensor) -> Tensor:
    """Return the number of tokens that count: labels (B, T) or a teacher's logits (B, T, C)."""
    if values.dim() == 3:
        return (~values[..., 0].isnan()).sum()
    return (values != IGNORED).sum()


def _named_classes(names: Sequence[str]) -> dict[str, Any]:
    return {
        "id2label": dict(enumerate(names)),
        "label2id": {name: index for index, name in enumerate(names)},
    }


def _independent_labels(names: Sequence[str]) -> dict[str, Any]:
    return {**_named_classes(names), "problem_type": "multi_label_classification"}


def _one_number(names: Sequence[str]) -> dict[str, Any]:
    return {**_named_classes(names), "problem_type": "regression"}


CLASSIFICATION_OBJECTIVE = Objective(
    model_class=AutoModelForSequenceClassification,
    output_names=("logits",),
    head=attrgetter("sequence_head"),
    head_settings=_named_classes,
    hard=cross_entropy,
    soft=kl_divergence,
    margins=best_margin,
)
"""One of C classes for a text or a pair of texts."""

MULTI_LABEL_OBJECTIVE = Objective(
    model_class=AutoModelForSequenceClassification,
    output_names=("logits",),
    head=attrgetter("sequence_head"),
    head_settings=_independent_labels,
    hard=binary_cross_entropy,
    soft=bernoulli_kl,
    margins=every_output,
)
"""Any number of C labels for a text or a pair of texts."""

REGRESSION_OBJECTIVE = Objective(
    model_class=AutoModelForSequenceClassification,
    output_names=("logits",),
    head=attrgetter("sequence_head"),
    head_settings=_one_number,
    hard=squared_error,
    soft=squared_distance,
    margins=every_output,
    standardised=True,
)
"""One number for a text or a pair of texts."""

TOKEN_OBJECTIVE = Objective(
    model_class=AutoModelForTokenClassification,
    output_names=("logits",),
    head=attrgetter("token_head"),
    head_settings=_named_classes,
    hard=token_cross_entropy,
    soft=token_kl,
    margins=token_margins,
    count=count_tokens,
)
"""One of C classes for every word of a text, read at its first token."""

SPAN_OBJECTIVE = Objective(
    model_class=AutoModelForQuestionAnswering,
    output_names=("start_logits", "end_logits"),
    head=attrgetter("span_head"),
    head_settings=_named_classes,
    hard=span_cross_entropy,
    soft=span_kl,
    margins=span_margins,
    count=count_windows,
)
"""The first and the last token of a span of a context, or the first of the input for none."""
