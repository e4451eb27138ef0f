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
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import BatchEncoding, PreTrainedModel

from models.architectures import Architecture

RIDGES = (1e-5, 1e-4, 3e-4, 1e-3, 1e-2)
"""Strengths tried at each site, relative to the mean of the Gram matrix's diagonal."""


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
    on_layer: Callable[[int], None] = lambda _: None,
) -> list[Fit]:
    """Change the student's dense layers, in place, and return how each fit went.

    Args:
        teacher: With adapters, in eval mode.
        student: The backbone's own shape, in eval mode.
        architecture: Where the sites are.
        batches: Token ids and masks of unlabelled texts.
        held_out: For each batch, whether it only chooses the ridge strength.
        on_layer: Called with the number of each finished layer.

    Raises:
        ValueError: when no batch is held out or none is left to fit on, or when an activation is
            not finite.
    """
    if all(held_out) or not any(held_out):
        raise ValueError("expected batches to fit on and held-out ones, found one kind only")
    masks = [batch["attention_mask"].bool() for batch in batches]
    teacher_run = [_Run.start(teacher, architecture, batch) for batch in batches]
    student_run = [_Run.start(student, architecture, batch) for batch in batches]
    fits = []
    layers = zip(
        architecture.layers(teacher.base_model), architecture.layers(student.base_model), strict=True
    )
    for number, (teacher_layer, student_layer) in enumerate(layers):
        sums = [_teacher_sums(run, teacher_layer, architecture, m) for run, m in zip(teacher_run, masks, strict=True)]
        for name, dense_path, norm_path in (
            ("attention", architecture.attention_output, architecture.attention_norm),
            ("ffn", architecture.ffn_output, architecture.ffn_norm),
        ):
            dense = student_layer.get_submodule(dense_path)
            norm = student_layer.get_submodule(norm_path)
            grams = {True: _Gram(), False: _Gram()}
            for run, mask, wanted, is_held_out in zip(student_run, masks, sums, held_out, strict=True):
                x, found = run.inputs_at(student_layer, dense, norm)
                grams[is_held_out].add(x[mask], wanted[name] - found[mask])
            fits.append(_fit_site(dense, grams[False], grams[True], layer=number, site=name))
        for run in student_run:
            run.advance(student_layer)
        on_layer(number)
    return fits


class _Stop(Exception):
    """Ends a forward pass once what was wanted of it is known."""


class _Run:
    """One batch on its way through a model's layers."""

    def __init__(self, hidden: Tensor, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        self.hidden = hidden  # (B, tokens, D)
        self.arguments = arguments
        self.keywords = keywords

    @classmethod
    def start(cls, model: PreTrainedModel, architecture: Architecture, batch: BatchEncoding) -> "_Run":
        """Run the embeddings, and take what the model gives its first layer."""
        given: list[Any] = []

        def take(_: nn.Module, arguments: Any, keywords: Any) -> None:
            given.extend((arguments, keywords))
            raise _Stop

        first = architecture.layers(model.base_model)[0]
        handle = first.register_forward_pre_hook(take, with_kwargs=True)
        try:
            model.base_model(**batch)
        except _Stop:
            pass
        finally:
            handle.remove()
        (hidden, *arguments), keywords = given
        return cls(hidden, tuple(arguments), keywords)

    def advance(self, layer: nn.Module) -> None:
        """Replace the hidden states by the layer's output."""
        output = layer(self.hidden, *self.arguments, **self.keywords)
        self.hidden = output[0] if isinstance(output, tuple) else output

    def inputs_at(self, layer: nn.Module, dense: nn.Module, norm: nn.Module) -> tuple[Tensor, Tensor]:
        """Return the inputs of a dense layer and of the LayerNorm after it; go no further."""
        taken: dict[nn.Module, Tensor] = {}

        def take(module: nn.Module, arguments: Any) -> None:
            taken[module] = arguments[0]
            if module is norm:
                raise _Stop

        handles = [module.register_forward_pre_hook(take) for module in (dense, norm)]
        try:
            layer(self.hidden, *self.arguments, **self.keywords)
        except _Stop:
            pass
        finally:
            for handle in handles:
                handle.remove()
        return taken[dense], taken[norm]


def _teacher_sums(
    run: _Run, layer: nn.Module, architecture: Architecture, mask: Tensor
) -> dict[str, Tensor]:
    """Advance the teacher by a layer; return its sums before both LayerNorms, (T, D) each."""
    sums: dict[str, Tensor] = {}
    norms = {"attention": architecture.attention_norm, "ffn": architecture.ffn_norm}
    handles = [
        layer.get_submodule(path).register_forward_pre_hook(
            lambda _, arguments, name=name: sums.__setitem__(name, arguments[0][mask])
        )
        for name, path in norms.items()
    ]
    run.advance(layer)
    for handle in handles:
        handle.remove()
    return sums


class _Gram:
    """Sums over tokens, in float64: ``xᵀx``, ``xᵀe`` and ``|e|²``, x with a column of ones."""

    def __init__(self) -> None:
        self.xx: np.ndarray | float = 0.0  # (K, K)
        self.xe: np.ndarray | float = 0.0  # (K, D)
        self.ee = 0.0

    def add(self, x: Tensor, error: Tensor) -> None:
        """Add the tokens of a batch: x (T, K - 1) and what is missing, error (T, D)."""
        inputs = torch.nn.functional.pad(x, (0, 1), value=1.0).float().cpu().numpy()  # (T, K)
        missing = error.float().cpu().numpy()
        # numpy computes a matrix times its own transpose with half the work.
        self.xx = self.xx + (inputs.T @ inputs).astype(np.float64)
        self.xe = self.xe + (inputs.T @ missing).astype(np.float64)
        self.ee += float(np.square(missing, dtype=np.float64).sum())

    def squared_error(self, change: Tensor) -> float:
        """Return the summed squared error that is left after a change of the dense layer."""
        explained = (change * torch.from_numpy(np.asarray(self.xe))).sum()
        added = (change * (torch.from_numpy(np.asarray(self.xx)) @ change)).sum()
        return float(self.ee - 2 * explained + added)


def _fit_site(dense: nn.Module, fit: _Gram, held_out: _Gram, *, layer: int, site: str) -> Fit:
    """Choose the ridge strength on held-out tokens, fit on all tokens, change the dense layer."""
    if not np.isfinite(fit.ee + held_out.ee):
        raise ValueError(
            f"The activations at layer {layer}, {site}, are not finite: the teacher's or the "
            "student's weights are broken, so nothing can be fitted to them."
        )
    if held_out.ee == 0:
        return Fit(layer=layer, site=site, r2=0.0, ridge=0.0)
    r2 = {
        ridge: 1 - held_out.squared_error(change) / held_out.ee
        for ridge in RIDGES
        if (change := _solve(fit.xx, fit.xe, ridge)) is not None
    }
    best = max(r2, key=r2.__getitem__, default=None)
    change = None if best is None else _solve(fit.xx + held_out.xx, fit.xe + held_out.xe, best)
    if best is None or change is None or not r2[best] > 0:
        return Fit(layer=layer, site=site, r2=0.0, ridge=0.0)
    _add_to(dense, change)
    return Fit(layer=layer, site=site, r2=r2[best], ridge=best)


def _solve(xx: Any, xe: Any, ridge: float) -> Tensor | None:
    """Return the ridge solution (K, D), or None where the Gram matrix is singular even so."""
    gram = torch.from_numpy(xx) + ridge * np.diag(xx).mean() * torch.eye(len(xx), dtype=torch.float64)
    factor, failed = torch.linalg.cholesky_ex(gram)
    return None if failed.any() else torch.cholesky_solve(torch.from_numpy(xe), factor)


def _add_to(dense: nn.Module, change: Tensor) -> None:
    weight, bias = dense.get_parameter("weight"), dense.get_parameter("bias")
    weight += change[:-1].T.to(weight)
    bias += change[-1].to(bias)
