"""Margins: the numbers that an answer depends on, of which absorption takes the gradients.

Shapes: B = batch, T = tokens, C = outputs per text or token.
"""

import torch
from torch import Tensor


def every_output(outputs: Tensor, _mask: Tensor) -> Tensor:
    """Return outputs that each are an answer of their own, (B, C)."""
    return outputs


def best_margin(logits: Tensor, _mask: Tensor) -> Tensor:
    """Return how far the best class is before the next one, (B, 1)."""
    best = logits.topk(2, dim=-1).values  # (B, 2)
    return best[:, :1] - best[:, 1:]


def token_margins(logits: Tensor, mask: Tensor) -> Tensor:
    """Return `best_margin` of every token, (B, T); zero for padding."""
    best = logits.topk(2, dim=-1).values  # (B, T, 2)
    return (best[..., 0] - best[..., 1]) * mask


def span_margins(logits: Tensor, counts: Tensor) -> Tensor:
    """Return how far the best first and last token are before the next ones, (B, 2).

    Args:
        logits: (B, T, 2).
        counts: Which tokens count, (B, T).
    """
    least = torch.finfo(logits.dtype).min
    found = logits.masked_fill(~counts.bool()[..., None], least)
    best = found.topk(min(2, found.shape[1]), dim=1).values  # (B, 2, 2)
    is_one = counts.sum(dim=1) < 2
    return (best[:, 0] - best[:, -1]).masked_fill(is_one[:, None], 0.0)
