"""What a task minimises: its hard loss on labels, its soft loss on a teacher's logits.

One `Objective` a task; the training stages take theirs from here and don't ask which it is.

Shapes: B = batch, C = classes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoModelForSequenceClassification


@dataclass(frozen=True, kw_only=True, slots=True)
class Objective:
    """The torch half of a task. Both losses return one value per example."""

    # Any: transformers' auto classes have no public type in common.
    model_class: Any
    """The transformers class that builds backbone and head."""
    hard: Callable[[Tensor, Tensor], Tensor]
    """(logits, labels) -> (B,)."""
    soft: Callable[[Tensor, Tensor, float], Tensor]
    """(student logits, teacher logits, temperature) -> (B,)."""


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the negative log-likelihood per example, in nats.

    Args:
        logits: (B, C).
        labels: (B,), class indices.
    """
    return F.cross_entropy(_at_least_float32(logits), labels, reduction="none")  # (B,)


def kl_divergence(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """Return ``T**2 * KL(teacher || student)`` per example, both softened by T, in nats.

    Hinton et al., 2015, https://arxiv.org/abs/1503.02531, section 2: soft gradients shrink with
    1 / T**2; the factor keeps them on the scale of the hard loss when T changes.

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


SINGLE_LABEL = Objective(
    model_class=AutoModelForSequenceClassification, hard=cross_entropy, soft=kl_divergence
)
"""One of C classes for a text or a pair of texts."""


def distillation_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    objective: Objective,
    temperature: float,
    alpha: float,
) -> Tensor:
    """Return ``alpha * soft + (1 - alpha) * hard`` per example, (B,).

    Args:
        student_logits: (B, C).
        teacher_logits: (B, C), without gradient.
        labels: (B,), class indices.
        objective: The task's two losses; for one label, T² KL and cross-entropy.
        temperature: Softens both distributions of the soft loss.
        alpha: Weight of the soft loss.
    """
    soft = objective.soft(student_logits, teacher_logits, temperature)
    return alpha * soft + (1 - alpha) * objective.hard(student_logits, labels)
