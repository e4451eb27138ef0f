"""Ridge regression on Gram matrices: float32 products of each batch, summed in float64.

The strength is chosen on held-out tokens; the solution then uses all of them. Memory does not
depend on the number of tokens. Sums and solutions are on the device of the inputs. Apple's GPU has
no float64, so there they are on the CPU.

Shapes: T = tokens of a batch, K = inputs plus one for the bias, D = outputs.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from models.processes import add_up

_STRENGTHS = 10.0 ** np.arange(-6.0, 0.5, 0.5)
"""Ridge strengths, relative to the mean of the Gram matrix's diagonal."""
_ROUNDING = 1e-7
"""Share of the squared outputs that may be rounding of their sums, with a margin."""
_ROWS = 256
"""Number of rows of the Gram matrix that are computed at once, from the diagonal on."""
FIRST_STRENGTH = 1e-3
"""Ridge strength at which the first search begins."""


class Sums(NamedTuple):
    """Sums over tokens that a regression needs; x has a column of ones."""

    xx: Tensor
    """``xᵀx``, (K, K)."""
    xe: Tensor
    """``xᵀe``, (K, D), with the error e that remains to be explained."""
    ee: float
    """``|e|²``; zero where it may be rounding of the outputs' sums."""

    def r2(self, change: Tensor | None) -> float:
        """Return the share of ``|e|²`` that a change (K, D) of the dense layer explains."""
        if change is None:
            return -math.inf
        return float((change * (2 * self.xe - self.xx @ change)).sum()) / self.ee


def device_of_sums(values: Tensor) -> torch.device:
    """Return the device that values are summed on in float64."""
    return torch.device("cpu") if values.device.type == "mps" else values.device


@contextmanager
def whole_products() -> Iterator[None]:
    """Multiply float32 numbers in full precision, not in TF32 or bf16."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


class Gram:
    """Sums over tokens of inputs x and wanted outputs y: ``xᵀx``, ``xᵀy`` and ``|y|²``."""

    def __init__(self, *, bias: bool = True) -> None:
        # Without a bias its column is zero, and so is its row of the ridge solution.
        self.ones = float(bias)
        self.upper = torch.zeros(())  # (K, K) from the first tokens on, by blocks of rows
        self.xy = torch.zeros(())  # (K, D)
        self.yy = 0.0
        self.finite = True

    def add(self, x: Tensor, y: Tensor, weights: Tensor | None = None) -> None:
        """Add the tokens of a batch.

        Args:
            x: Inputs of the dense layer, (T, K - 1).
            y: Wanted outputs, (T, D).
            weights: Weight of each token, (T,); by default, all weigh the same.
        """
        inputs = torch.nn.functional.pad(x, (0, 1), value=self.ones).float()  # (T, K)
        wanted = y.float()
        if weights is not None:
            roots = weights.sqrt()[:, None]
            inputs, wanted = inputs * roots, wanted * roots
        self.finite &= bool((inputs.sum() + wanted.sum()).isfinite())
        size = inputs.shape[1]
        if self.upper.ndim == 0:
            self._begin(size, wanted.shape[1], inputs)
        # numpy's product would do half the work, but its threads and torch's busy-wait for each
        # other, which costs more than the other half.
        with whole_products():
            for start in range(0, size, _ROWS):
                rows = slice(start, start + _ROWS)
                products = inputs[:, rows].T @ inputs[:, start:]
                self.upper[rows, start:] += products.to(self.upper.device)
            self.xy += (inputs.T @ wanted).to(self.xy.device)
        self.yy += float(wanted.to(self.xy.device).double().square().sum())

    def add_processes(self, inputs: int, outputs: int, like: Tensor) -> None:
        """Add the sums of other processes.

        Args:
            inputs: Number of inputs, K.
            outputs: Number of outputs, D.
            like: A tensor on the device of the inputs.
        """
        if self.upper.ndim == 0:
            self._begin(inputs, outputs, like)
        add_up(self.upper)
        add_up(self.xy)
        others = add_up(torch.tensor([self.yy, float(not self.finite)], dtype=torch.float64))
        self.yy, self.finite = float(others[0]), not others[1]

    def _begin(self, inputs: int, outputs: int, like: Tensor) -> None:
        device = device_of_sums(like)
        self.upper = torch.zeros(inputs, inputs, dtype=torch.float64, device=device)
        self.xy = torch.zeros(inputs, outputs, dtype=torch.float64, device=device)

    def sums(self, dense: Tensor | None = None) -> Sums:
        """Return the sums for the error of a dense layer (K, D), bias last."""
        upper = self.upper.triu()
        xx = upper + upper.triu(1).T
        if dense is None:
            return Sums(xx, self.xy, self.yy)
        given = xx @ dense  # xᵀ(x W)
        ee = self.yy - float((dense * (2 * self.xy - given)).sum())
        is_rounding = not ee > _ROUNDING * self.yy  # true also where squares overflowed
        return Sums(xx, self.xy - given, 0.0 if is_rounding else ee)


class Solution(NamedTuple):
    """Result of a ridge regression."""

    change: Tensor
    """Change of the transposed weight, and in its last row of the bias, (K, D)."""
    without_held_out: Tensor
    """Change fitted on the training tokens alone, (K, D)."""
    r2: float
    """R² on the held-out tokens, of the change fitted without them."""
    strength: float


def solve(fit: Sums, held_out: Sums, *, first: float) -> Solution | None:
    """Return the solution on all tokens, or None where no strength explains the held-out ones.

    Args:
        fit: Sums over the training tokens.
        held_out: Sums over the held-out tokens, which choose the strength.
        first: Strength at which the search begins.
    """
    if held_out.ee == 0:
        return None
    start = int(np.argmin(abs(_STRENGTHS - first)))
    tried: dict[float, Tensor | None] = {}

    def r2_of(strength: float) -> float:
        tried[strength] = _solve(fit.xx, fit.xe, strength)
        return held_out.r2(tried[strength])

    strength, r2 = _climb(r2_of, start)
    change = _solve(fit.xx + held_out.xx, fit.xe + held_out.xe, strength)
    without_held_out = tried[strength]
    if r2 <= 0 or change is None or without_held_out is None:
        return None
    return Solution(change, without_held_out, r2, strength)


def _climb(r2_of: Callable[[float], float], first: int) -> tuple[float, float]:
    """Return the strength with the largest R², walking from neighbour to neighbour, and its R².

    The walk stays where no neighbour is better, for instance where nothing can be solved.
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
        here = max(neighbours, key=known.__getitem__)  # the first of equals, so that the walk stays
    return float(_STRENGTHS[here]), known[here]


def _solve(xx: Tensor, xe: Tensor, strength: float) -> Tensor | None:
    """Return the ridge solution (K, D), or None where the Gram matrix is still singular."""
    gram = xx.clone()
    gram.diagonal().add_(strength * float(xx.diagonal().mean()))
    factor, failed = torch.linalg.cholesky_ex(gram)
    return None if failed.any() else torch.cholesky_solve(xe, factor)
