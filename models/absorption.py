"""Absorption: what adapters do, moved into the student's own dense layers in closed form.

Site by site, in forward order, a ridge regression finds the change of a dense layer's weight and
bias that brings the student's sum before LayerNorm to the teacher's. The student runs on its own
hidden states, already absorbed up to the site, so a later site also corrects what the earlier
ones left over. Only what goes into and comes out of a site is looked at: every adapter kind and
composition is served alike. Neighbours: ReplaceMe (2025, https://arxiv.org/abs/2505.02819) fits
linear maps of whole blocks in this way; nobody fits adapters.

Real tokens only: padding never enters a fit. The hidden states of one layer are kept for all
texts; Gram matrices are summed batch by batch, in float64.

Shapes: T = real tokens of a batch, D = hidden size, K = inputs of a dense layer, plus one for its
bias.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from transformers import BatchEncoding, PreTrainedModel

from models.architectures import Architecture

_STRENGTHS = 10.0 ** np.arange(-6.0, 0.5, 0.5)
"""Ridge strengths, relative to the mean of the Gram matrix's diagonal."""
_FIRST = 6
"""Where the search begins, at 1e-3: each site goes on from where the one before it ended."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fit:
    """One site's regression: the held-out R², and the strength that reached it."""

    layer: int
    site: str
    r2: float
    ridge: float


@torch.no_grad()
def absorb(
    teacher: PreTrainedModel,
    student: PreTrainedModel,
    architecture: Architecture,
    batches: Sequence[BatchEncoding],
    *,
    held_out: Sequence[bool],
    on_layer: Callable[[], object] = lambda: None,
) -> list[Fit]:
    """Change the student's dense layers, in place, and return how each fit went.

    Args:
        teacher: With adapters, in eval mode.
        student: The backbone's own shape, in eval mode.
        architecture: Where the sites are.
        batches: Token ids and masks of unlabelled texts.
        held_out: For each batch, whether it only chooses the ridge strength.
        on_layer: Called after each layer.

    Raises:
        ValueError: when no batch is held out or none is left to fit on, or when an activation is
            not finite.
    """
    if all(held_out) or not any(held_out):
        raise ValueError("expected batches to fit on and held-out ones, found one kind only")
    teacher_layers = architecture.layers(teacher.base_model)
    student_layers = architecture.layers(student.base_model)
    runs = [
        (_Run.start(teacher, architecture, batch), _Run.start(student, architecture, batch))
        for batch in batches
    ]
    fits: list[Fit] = []
    for number, layers in enumerate(zip(teacher_layers, student_layers, strict=True)):
        fits += _absorb_layer(number, *layers, architecture, runs, held_out, before=fits)
        on_layer()
    return fits


def _absorb_layer(
    number: int,
    teacher: nn.Module,
    student: nn.Module,
    architecture: Architecture,
    runs: Sequence[tuple["_Run", "_Run"]],
    held_out: Sequence[bool],
    *,
    before: Sequence[Fit],
) -> list[Fit]:
    """Fit a layer's two sites, and move all runs to the layer's output."""
    attention, ffn = (
        student.get_submodule(path)
        for path in (architecture.attention_output, architecture.ffn_output)
    )
    norm = student.get_submodule(architecture.attention_norm)
    wanted = [run.teacher_sums(teacher, architecture) for run, _ in runs]

    grams = {True: _Gram(), False: _Gram()}
    halves = [run.attention_half(student, attention, norm) for _, run in runs]
    for (_, run), half, sums, part in zip(runs, halves, wanted, held_out, strict=True):
        grams[part].add(half.inputs[run.mask], sums["attention"] - half.total[run.mask])
    residuals = [half.total - attention(half.inputs) for half in halves]
    fits = [_fit_site(attention, grams, number, "attention", before)]
    for (_, run), half, residual in zip(runs, halves, residuals, strict=True):
        run.hidden = norm(attention(half.inputs) + residual)

    grams = {True: _Gram(), False: _Gram()}
    for (_, run), sums, part in zip(runs, wanted, held_out, strict=True):
        half = run.ffn_half(student, architecture)
        grams[part].add(half.inputs[run.mask], sums["ffn"] - half.total[run.mask])
    fits.append(_fit_site(ffn, grams, number, "ffn", [*before, *fits]))
    for _, run in runs:
        run.hidden = architecture.ffn_half(student, run.hidden)
    return fits


class _StopForwardError(Exception):
    """Ends a forward pass once what was wanted of it is known."""


class _Half(NamedTuple):
    """What a layer's half shows of a batch."""

    inputs: Tensor
    """Of the dense layer that ends it, (B, tokens, K - 1)."""
    total: Tensor
    """The sum before the LayerNorm after it, (B, tokens, D)."""


class _Run:
    """One batch on its way through a model's layers."""

    def __init__(
        self, hidden: Tensor, mask: Tensor, arguments: Sequence[Any], keywords: dict[str, Any]
    ) -> None:
        self.hidden = hidden  # (B, tokens, D)
        self.mask = mask  # (B, tokens), True for real tokens
        self.arguments = arguments
        self.keywords = keywords

    @classmethod
    def start(
        cls, model: PreTrainedModel, architecture: Architecture, batch: BatchEncoding
    ) -> "_Run":
        """Run the embeddings, and take what the model gives its first layer."""
        given: list[Any] = []

        def take(_: nn.Module, arguments: Any, keywords: Any) -> None:
            given.extend((arguments, keywords))
            raise _StopForwardError

        first = architecture.layers(model.base_model)[0]
        _run_to_stop(partial(model.base_model, **batch), {first: take}, with_kwargs=True)
        (hidden, *arguments), keywords = given
        return cls(hidden, batch["attention_mask"].bool(), arguments, keywords)

    def teacher_sums(self, layer: nn.Module, architecture: Architecture) -> dict[str, Tensor]:
        """Go through a layer; return the real tokens' sums before both LayerNorms, (T, D)."""
        sums: dict[str, Tensor] = {}
        norms = {"attention": architecture.attention_norm, "ffn": architecture.ffn_norm}
        handles = [
            layer.get_submodule(path).register_forward_pre_hook(
                lambda _, arguments, name=name: sums.__setitem__(name, arguments[0][self.mask])
            )
            for name, path in norms.items()
        ]
        output = layer(self.hidden, *self.arguments, **self.keywords)
        for handle in handles:
            handle.remove()
        self.hidden = output[0] if isinstance(output, tuple) else output
        return sums

    def attention_half(self, layer: nn.Module, dense: nn.Module, norm: nn.Module) -> _Half:
        """Run a layer as far as the LayerNorm after its attention."""
        return _take(partial(layer, self.hidden, *self.arguments, **self.keywords), dense, norm)

    def ffn_half(self, layer: nn.Module, architecture: Architecture) -> _Half:
        """Run a layer's FFN as far as the LayerNorm after it, from attention's output."""
        return _take(
            partial(architecture.ffn_half, layer, self.hidden),
            layer.get_submodule(architecture.ffn_output),
            layer.get_submodule(architecture.ffn_norm),
        )


def _take(run: Callable[[], Any], dense: nn.Module, norm: nn.Module) -> _Half:
    """Return the inputs of a dense layer and of the LayerNorm after it; go no further."""
    taken: dict[nn.Module, Tensor] = {}

    def take(module: nn.Module, arguments: Any) -> None:
        taken[module] = arguments[0]
        if module is norm:
            raise _StopForwardError

    _run_to_stop(run, {dense: take, norm: take})
    return _Half(taken[dense], taken[norm])


def _run_to_stop(
    run: Callable[[], Any],
    hooks: dict[nn.Module, Callable[..., None]],
    *,
    with_kwargs: bool = False,
) -> None:
    handles = [
        module.register_forward_pre_hook(hook, with_kwargs=with_kwargs)
        for module, hook in hooks.items()
    ]
    try:
        run()
    except _StopForwardError:
        pass
    finally:
        for handle in handles:
            handle.remove()


class _Gram:
    """Sums over tokens, in float64: ``xᵀx``, ``xᵀe`` and ``|e|²``, x with a column of ones."""

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
        """Return the part of ``|e|²`` that a change of the dense layer explains."""
        if change is None:
            return -np.inf
        explained = (change * torch.from_numpy(self.xe)).sum()
        added = (change * (torch.from_numpy(self.xx) @ change)).sum()
        return float(2 * explained - added) / self.ee


def _fit_site(
    dense: nn.Module, grams: dict[bool, _Gram], layer: int, site: str, before: Sequence[Fit]
) -> Fit:
    """Choose the ridge strength on held-out tokens, fit on all tokens, change the dense layer."""
    fit, held_out = grams[False], grams[True]
    if not np.isfinite(fit.ee + held_out.ee):
        raise ValueError(
            f"The activations at layer {layer}, {site}, are not finite: the teacher's or the "
            "student's weights are broken, so nothing can be fitted to them."
        )
    unchanged = Fit(layer=layer, site=site, r2=0.0, ridge=0.0)
    if held_out.ee == 0:
        return unchanged
    first = next(
        (int(np.argmin(abs(_STRENGTHS - f.ridge))) for f in reversed(before) if f.ridge), _FIRST
    )
    best, r2 = _climb(lambda strength: held_out.r2(_solve(fit.xx, fit.xe, strength)), first)
    change = _solve(fit.xx + held_out.xx, fit.xe + held_out.xe, best) if r2 > 0 else None
    if change is None:
        return unchanged
    weight, bias = dense.get_parameter("weight"), dense.get_parameter("bias")
    weight.add_(change[:-1].T.to(weight))
    bias.add_(change[-1].to(bias))
    return Fit(layer=layer, site=site, r2=r2, ridge=best)


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


def _solve(xx: np.ndarray, xe: np.ndarray, ridge: float) -> Tensor | None:
    """Return the ridge solution (K, D), or None where the Gram matrix is singular even so."""
    gram = torch.from_numpy(xx.copy())
    gram.diagonal().add_(ridge * float(np.diag(xx).mean()))
    factor, failed = torch.linalg.cholesky_ex(gram)
    return None if failed.any() else torch.cholesky_solve(torch.from_numpy(xe), factor)
