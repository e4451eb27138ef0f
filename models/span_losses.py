"""Losses over the first and the last token of a span: question answering.

Each token has two logits: that the answer begins there, and that it ends there. Both are
distributions over the tokens that count: the context's, and the first token of the input. The first
token means that the context has no answer. All other tokens are masked.

Shapes: B = windows, T = tokens; logits are (B, T, 2).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

IGNORED = -100
"""Label of a token that does not count."""
BEGINS, ENDS = 1, 2
"""Labels of the answer's first and last token; their sum is that of both in one. Else it is 0."""


def span_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean negative log-likelihood of each window's first and last token, in nats.

    Args:
        logits: (B, T, 2).
        labels: (B, T): `BEGINS` and `ENDS` at one token each, -100 for tokens that do not count.
    """
    labels = labels.long()
    found = _log_probabilities(logits, labels != IGNORED, temperature=1.0)  # (B, T, 2)
    is_own = torch.stack([labels % 2 == BEGINS, labels // 2 == ENDS // 2], dim=-1)
    is_own &= (labels != IGNORED)[..., None]
    return -found.masked_fill(~is_own, 0.0).sum(dim=(1, 2)) / 2  # (B,)


def span_kl(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """Return ``T**2 * KL(teacher || student)`` of each window, in nats: the mean of both ends.

    Args:
        student_logits: (B, T, 2).
        teacher_logits: (B, T, 2), without gradient; NaN for tokens that do not count, which are
            masked in both.
        temperature: T above; see `models.losses.kl_divergence` for T**2.
    """
    counts = ~teacher_logits[..., 0].isnan()  # (B, T)
    student = _log_probabilities(student_logits, counts, temperature=temperature)
    teacher = _log_probabilities(teacher_logits, counts, temperature=temperature)
    per_token = F.kl_div(student, teacher, reduction="none", log_target=True)  # (B, T, 2)
    divergence = per_token.masked_fill(~counts[..., None], 0.0).sum(dim=(1, 2))
    return temperature**2 * divergence / 2  # (B,)


def count_windows(values: Tensor) -> Tensor:
    """Return the number of windows, of labels (B, T) or of a teacher's logits (B, T, 2)."""
    return torch.tensor(len(values), device=values.device)


def _log_probabilities(logits: Tensor, counts: Tensor, *, temperature: float) -> Tensor:
    """Return log-probabilities over the tokens that count, (B, T, 2), in float32 at least."""
    found = logits.to(torch.promote_types(logits.dtype, torch.float32))
    # The least number and not minus infinity, whose gradient would be NaN.
    least = torch.finfo(found.dtype).min
    return F.log_softmax((found / temperature).masked_fill(~counts[..., None], least), dim=1)
