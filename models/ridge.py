"""Ridge regression on Gram matrices that are summed batch by batch, in float64.

The strength is chosen on held-out tokens; the solution then uses all of them. Memory does not
depend on the number of tokens.

Shapes: T = tokens of a batch, K = inputs plus one for the bias, D = outputs.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

_STRENGTHS = 10.0 ** np.arange(-6.0, 0.5, 0.5)
"""Ridge strengths, relative to the mean of the Gram matrix's diagonal."""
FIRST_STRENGTH = 1e-3
"""Where a search begins that has nothing better to go on from."""


class Gram:
    """Sums over tokens: ``xᵀx``, ``xᵀe`` and ``|e|²``, x with a column of ones."""

    def __init__(self) -> None:
        self.xx = np.zeros(())  # (K, K) from the first tokens on
        self.xe = np.zeros(())  # (K, D)
        self.ee = 0.0

    def add(self, x: Tensor, error: Tensor) -> None:
        """Add the tokens of a batch: x (T, K - 1) and what is missing, error (T, D)."""
        inputs = torch.nn.functional.pad(x, (0, 1), value=1.0).float().cpu().numpy()  # (T, K)
        missing = error.float().cpu().numpy()
        # numpy computes a matrix times its own transpose with half the work.
        self.xx = self.xx + (inputs.T @ inputs).astype(np.float64)
        self.xe = self.xe + (inputs.T @ missing).astype(np.float64)
        self.ee += float(np.square(missing, dtype=np.float64).sum())

    def r2(self, change: Tensor | None) -> float:
        """Return the part of ``|e|²`` that a change (K, D) of the dense layer explains."""
        if change is None:
            return -np.inf
        explained = (change * torch.from_numpy(self.xe)).sum()
        added = (change * (torch.from_numpy(self.xx) @ change)).sum()
        return float(2 * explained - added) / self.ee


class Solution(NamedTuple):
    """A regression's result."""

    change: Tensor
    """(K, D): what to add to the transposed weight, and in its last row to the bias."""
    r2: float
    """On the held-out tokens, of the fit without them."""
    strength: float


def solve(fit: Gram, held_out: Gram, *, first: float) -> Solution | None:
    """Return the solution on all tokens, or None where none explains the held-out ones.

    Args:
        fit: Most of the tokens.
        held_out: The rest, on which the strength is chosen.
        first: Strength from which the search walks.
    """
    if held_out.ee == 0:
        return None
    start = int(np.argmin(abs(_STRENGTHS - first)))
    strength, r2 = _climb(lambda each: held_out.r2(_solve(fit.xx, fit.xe, each)), start)
    if r2 <= 0:
        return None
    change = _solve(fit.xx + held_out.xx, fit.xe + held_out.xe, strength)
    return None if change is None else Solution(change, r2, strength)


def _climb(r2_of: Callable[[float], float], first: int) -> tuple[float, float]:
    """Return the strength with the largest R², walking from neighbour to neighbour, and its R².

    Where R² is the same on both sides, as where nothing can be solved, the walk stays.
    """
    known: dict[int, float] = {}
    here, previous = first, -1
    while here != previous:
        previous = here
        neighbours = [i for i in (here, here - 1, here + 1) if 0 <= i < len(_STRENGTHS)]
        for index in neighbours:
            if index not in known:
                r2 = r2_of(float(_STRENGTHS[index]))
                known[index] = r2 if np.isfinite(r2) else -np.inf
        here = max(neighbours, key=known.__getitem__)  # the first of equals: stay
    return float(_STRENGTHS[here]), known[here]


def _solve(xx: np.ndarray, xe: np.ndarray, strength: float) -> Tensor | None:
    """Return the ridge solution (K, D), or None where the Gram matrix is singular even so."""
    gram = torch.from_numpy(xx.copy())
    gram.diagonal().add_(strength * float(np.diag(xx).mean()))
    factor, failed = torch.linalg.cholesky_ex(gram)
    return None if failed.any() else torch.cholesky_solve(torch.from_numpy(xe), factor)
