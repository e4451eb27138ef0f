"""Changes of a dense layer that LoRA can hold: the closest ones of a low rank.

Closest where it matters: over the tokens that the change was fitted to, not over the weights. Of a
change Δ of the inputs x, the best one of rank r is ΔVVᵀ, with the r strongest directions V of the
outputs xΔ (reduced-rank regression; Izenman, 1975,
https://doi.org/10.1016/0047-259X(75)90042-1). The bias is free, so x is taken around its mean.

Shapes: K = inputs of a dense layer, plus one for its bias; D = its outputs.
"""

import torch
from torch import Tensor


def reduce_rank(change: Tensor, xx: Tensor, rank: int) -> Tensor:
    """Return the closest change whose weight has at most this rank, (K, D).

    Args:
        change: Of a dense layer, its bias last, (K, D).
        xx: The Gram matrix of its inputs with a column of ones, or of zeros without a bias, (K, K).
        rank: At least 1.
    """
    weight, bias = change[:-1], change[-1]
    tokens = xx[-1, -1]
    mean = xx[-1, :-1] / tokens if tokens > 0 else torch.zeros_like(xx[-1, :-1])
    around_mean = xx[:-1, :-1] - tokens * torch.outer(mean, mean)
    _, directions = torch.linalg.eigh(weight.T @ around_mean @ weight)  # (D, D), ascending
    strongest = directions[:, -rank:]
    reduced = weight @ strongest @ strongest.T
    return torch.cat([reduced, (bias + mean @ (weight - reduced))[None]])
