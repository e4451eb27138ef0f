"""Absorption: what adapters do, moved into the student's own dense layers in closed form.

Site by site, in forward order, a ridge regression finds the change of a dense layer's weight and
bias that brings the student's sum before LayerNorm to the teacher's. The student runs on its own
hidden states, already absorbed up to the site, so a later site also corrects what the earlier
ones left over. Only what goes into and comes out of a site is looked at: every adapter kind and
composition is served alike, and so are layers that the student does not have: a kept layer's FFN
takes over what the skipped layers after it did. Neighbours: ReplaceMe (2025,
https://arxiv.org/abs/2505.02819) fits linear maps of whole blocks; nobody fits adapters.

Real tokens only: padding never enters a fit. Hidden states of many texts lie on disk between two
layers, and Gram matrices are sums: memory is bounded, but for the texts' token ids.

Shapes: B = texts of a batch, T = its real tokens, D = hidden size, K = inputs of a dense layer,
plus one for its bias.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from transformers import BatchEncoding, PreTrainedModel
from transformers.activations import ACT2FN

from models.architectures import Architecture
from models.layerwise import Run, Side, Spill, forward_to
from models.ridge import FIRST_STRENGTH, Gram, solve
from models.widening import fit_units, set_units

_SAMPLE = 50_000
"""Tokens that extra units are fitted to, at most, so that memory stays bounded."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fit:
    """One site's regression: the held-out R², and the strength that reached it."""

    layer: int
    """Of the student."""
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
    scratch: Path,
    kept: Sequence[int] | None = None,
    extra_units: int = 0,
    seed: int = 0,
    on_layer: Callable[[], object] = lambda: None,
) -> list[Fit]:
    """Change the student's dense layers, in place, and return how each fit went.

    Args:
        teacher: With adapters, in eval mode.
        student: The backbone's own shape, or some of its layers, in eval mode.
        architecture: Where the sites are.
        batches: Token ids and masks of unlabelled texts.
        held_out: For each batch, whether it only chooses the ridge strength.
        scratch: Folder for hidden states that are too many for memory: up to 16 bytes a token and
            hidden unit, while this runs.
        kept: The teacher's layer that each of the student's came from; all by default.
        extra_units: Units of every FFN of the student that do nothing yet, as `widen_ffn` adds
            them: they are fitted to what the regression leaves over.
        seed: Of those units' start.
        on_layer: Called after each of the student's layers.

    Raises:
        ValueError: when no batch is held out or none is left to fit on, or when an activation is
            not finite.
    """
    if all(held_out) or not any(held_out):
        raise ValueError("expected batches to fit on and held-out ones, found one kind only")
    walk = _Walk(
        teacher=Side(teacher, architecture, scratch / "teacher"),
        student=Side(student, architecture, scratch / "student"),
        architecture=architecture,
        batches=batches,
        held_out=held_out,
        sums=Spill(scratch / "sums"),
        inputs=Spill(scratch / "inputs"),
        extra_units=extra_units,
        activation=ACT2FN[getattr(student.config, architecture.activation_setting)],
        seed=seed,
    )
    fits: list[Fit] = []
    blocks = _blocks(architecture.layers(teacher.base_model), kept)
    layers = architecture.layers(student.base_model)
    for number, (block, layer) in enumerate(zip(blocks, layers, strict=True)):
        fits += _absorb_layer(number, block, layer, walk, before=fits)
        on_layer()
    return fits


class _Block(NamedTuple):
    """The teacher's layers that one of the student's stands for."""

    layers: list[nn.Module]
    kept: nn.Module
    """The one among them that the student's came from."""


def _blocks(layers: nn.ModuleList, kept: Sequence[int] | None) -> list[_Block]:
    """Give each skipped layer to the kept one before it, the very first ones to the first."""
    numbers = list(range(len(layers))) if kept is None else list(kept)
    starts = [0, *numbers[1:]]
    ends = [*numbers[1:], len(layers)]
    return [
        _Block(list(layers[start:end]), layers[number])
        for start, end, number in zip(starts, ends, numbers, strict=True)
    ]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Walk:
    """What stays the same from layer to layer."""

    teacher: Side
    student: Side
    architecture: Architecture
    batches: Sequence[BatchEncoding]
    held_out: Sequence[bool]
    sums: Spill
    """The teacher's sums before the block's last LayerNorm, (T, D)."""
    inputs: Spill
    """Of the student's dense layer that ends attention, (B, tokens, K - 1)."""
    extra_units: int
    activation: Callable[[Tensor], Tensor]
    """The FFN's."""
    seed: int

    def ffn_errors(self, layer: nn.Module) -> Iterator["_FfnError"]:
        """Yield what a layer's FFN sees of each batch, and what is missing at its output."""
        dense, norm = (
            layer.get_submodule(path)
            for path in (self.architecture.ffn_output, self.architecture.ffn_norm)
        )
        for index, batch in enumerate(self.batches):
            mask = batch["attention_mask"].bool()
            hidden = self.student.hidden.read(index)
            half = forward_to(partial(self.architecture.ffn_half, layer, hidden), dense, norm)
            yield _FfnError(
                held_out=self.held_out[index],
                hidden=hidden[mask],
                inputs=half.inputs[mask],
                missing=self.sums.read(index) - half.total[mask],
            )


class _FfnError(NamedTuple):
    """The FFN half of one batch, real tokens only."""

    held_out: bool
    hidden: Tensor
    """Attention's normalised output, (T, D)."""
    inputs: Tensor
    """Of the dense layer that ends the FFN, (T, K - 1)."""
    missing: Tensor
    """(T, D)."""


def _absorb_layer(
    number: int, block: _Block, layer: nn.Module, walk: _Walk, *, before: Sequence[Fit]
) -> list[Fit]:
    """Fit a layer's two sites, and move all batches to the layer's output."""
    architecture = walk.architecture
    attention, norm = (
        layer.get_submodule(path)
        for path in (architecture.attention_output, architecture.attention_norm)
    )
    # What comes after the block's last LayerNorm is what the student's must give.
    layer.get_submodule(architecture.ffn_norm).load_state_dict(
        block.layers[-1].get_submodule(architecture.ffn_norm).state_dict()
    )

    grams = {True: Gram(), False: Gram()}
    for index, batch in enumerate(walk.batches):
        wanted = _teacher_sums(block, walk.teacher.enter(index, batch), walk, index)
        run = walk.student.enter(index, batch)
        half = run.attention_half(layer, attention, norm)
        grams[walk.held_out[index]].add(half.inputs[run.mask], wanted - half.total[run.mask])
        walk.inputs.write(index, half.inputs)
        walk.student.hidden.write(index, run.hidden)
    fits = [_fit_site(attention, grams, number, "attention", before)]

    for index in range(len(walk.batches)):
        # After attention, what the dense layer adds to is the layer's own input.
        total = attention(walk.inputs.read(index)) + walk.student.hidden.read(index)
        walk.student.hidden.write(index, norm(total))
    fits.append(_fit_ffn(number, layer, walk, before=[*before, *fits]))

    for index in range(len(walk.batches)):
        hidden = walk.student.hidden.read(index)
        walk.student.hidden.write(index, architecture.ffn_half(layer, hidden))
    return fits


def _fit_ffn(number: int, layer: nn.Module, walk: _Walk, *, before: Sequence[Fit]) -> Fit:
    """Fit the FFN's output, then the extra units to what is left, then all of it together."""
    dense = layer.get_submodule(walk.architecture.ffn_output)
    grams = _ffn_grams(layer, walk)
    fit = _fit_site(dense, grams, number, "ffn", before)
    if not walk.extra_units:
        return fit
    hidden, missing = _left_over(layer, walk)
    units = fit_units(
        hidden, missing, activation=walk.activation, units=walk.extra_units, seed=walk.seed
    )
    if units is None:
        return fit
    set_units(layer, walk.architecture, *units)
    again = _ffn_grams(layer, walk)
    joint = _fit_site(dense, again, number, "ffn", [*before, fit])
    left = (1 - joint.r2) * again[True].ee / grams[True].ee
    return replace(joint, r2=1 - left)


def _ffn_grams(layer: nn.Module, walk: _Walk) -> dict[bool, Gram]:
    grams = {True: Gram(), False: Gram()}
    for error in walk.ffn_errors(layer):
        grams[error.held_out].add(error.inputs, error.missing)
    return grams


def _left_over(layer: nn.Module, walk: _Walk) -> tuple[Tensor, Tensor]:
    """Return FFN inputs and what is missing for a sample of tokens that are not held out."""
    per_batch = -(-_SAMPLE // len(walk.batches))
    chance = torch.Generator().manual_seed(walk.seed)
    hidden, missing = [], []
    for error in walk.ffn_errors(layer):
        if not error.held_out:
            rows = torch.randperm(len(error.hidden), generator=chance)[:per_batch]
            hidden.append(error.hidden[rows])
            missing.append(error.missing[rows])
    return torch.cat(hidden), torch.cat(missing)


def _teacher_sums(block: _Block, run: Run, walk: _Walk, index: int) -> Tensor:
    """Move a batch through a block; return the sums after the kept layer's attention, (T, D)."""
    sums: dict[str, Tensor] = {}
    for layer in block.layers:
        norms = {"ffn": layer.get_submodule(walk.architecture.ffn_norm)}
        if layer is block.kept:
            norms["attention"] = layer.get_submodule(walk.architecture.attention_norm)
        handles = [
            norm.register_forward_pre_hook(
                lambda _, arguments, name=name: sums.__setitem__(name, arguments[0][run.mask])
            )
            for name, norm in norms.items()
        ]
        output = layer(run.hidden, *run.arguments, **run.keywords)
        for handle in handles:
            handle.remove()
        run.hidden = output[0] if isinstance(output, tuple) else output
    walk.teacher.hidden.write(index, run.hidden)
    walk.sums.write(index, sums["ffn"])
    return sums["attention"]


def _fit_site(
    dense: nn.Module, grams: dict[bool, Gram], layer: int, site: str, before: Sequence[Fit]
) -> Fit:
    """Fit a dense layer and change it; where nothing explains the held-out tokens, leave it."""
    if not np.isfinite(grams[False].ee + grams[True].ee):
        raise ValueError(
            f"The activations at layer {layer}, {site}, are not finite: the teacher's or the "
            "student's weights are broken, so nothing can be fitted to them."
        )
    first = next((fit.ridge for fit in reversed(before) if fit.ridge), FIRST_STRENGTH)
    solution = solve(grams[False], grams[True], first=first)
    if solution is None:
        return Fit(layer=layer, site=site, r2=0.0, ridge=0.0)
    weight, bias = dense.get_parameter("weight"), dense.get_parameter("bias")
    weight.add_(solution.change[:-1].T.to(weight))
    bias.add_(solution.change[-1].to(bias))
    return Fit(layer=layer, site=site, r2=solution.r2, ridge=solution.strength)
