"""Changes of a dense layer that LoRA can hold: the closest ones of a low rank.

Closeness is measured over the tokens that the change was fitted to, not over the weights. A change
Δ has outputs xΔ at inputs x. Its best approximation of rank r is ΔVVᵀ, with V the r strongest
directions of xΔ. This is reduced-rank regression (Izenman, 1975,
https://doi.org/10.1016/0047-259X(75)90042-1). The bias is free, so x is centred at its mean.

Shapes: K = inputs of a dense layer, plus one for its bias; D = outputs of it.
"""

import torch
from torch import Tensor


def reduce_rank(change: Tensor, xx: Tensor, rank: int) -> Tensor:
    """Return the closest change whose weight has at most this rank, (K, D).

    Args:
        change: Change of a dense layer, its bias last, (K, D).
        xx: Gram matrix of its inputs with a column of ones, or of zeros without a bias, (K, K).
        rank: Highest rank, at least 1.
    """
    weight, bias = change[:-1], change[-1]
    tokens = xx[-1, -1]
    mean = xx[-1, :-1] / tokens if tokens > 0 else torch.zeros_like(xx[-1, :-1])
    around_mean = xx[:-1, :-1] - tokens * torch.outer(mean, mean)
    _, directions = torch.linalg.eigh(weight.T @ around_mean @ weight)  # (D, D), ascending
    strongest = directions[:, -rank:]
    reduced = weight @ strongest @ strongest.T
    return torch.cat([reduced, (bias + mean @ (weight - reduced))[None]])
