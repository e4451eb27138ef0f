"""Absorption: what adapters do, moved into the student's own dense layers in closed form.

Site by site, in forward order, a ridge regression finds the change of a dense layer's weight and
bias that brings the student's sum before LayerNorm to the teacher's. The student runs on its own
hidden states, already absorbed up to the site, so a later site also corrects what the earlier
ones left over. Only what goes into and comes out of a site is looked at: every adapter kind and
composition is served alike, and so are layers that the student does not have: a kept layer's FFN
takes over what the skipped layers after it did. Neighbours: ReplaceMe (2025,
https://arxiv.org/abs/2505.02819) fits linear maps of whole blocks; nobody fits adapters.

Real tokens only: padding never enters a fit; and at the last layer first tokens only, since the
head looks at no other. Hidden states of many texts lie on disk between two layers, and Gram
matrices are sums: memory is bounded, but for the texts' token ids.

Shapes: B = texts of a batch, T = its tokens that count, D = hidden size, K = inputs of a dense
layer, plus one for its bias.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import BatchEncoding, PreTrainedModel
from transformers.activations import ACT2FN

from models.adapters import ADAPTER
from models.architectures import Architecture
from models.layerwise import Run, Side, Spill, ffn
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
        scratch: Folder for hidden states that are too many for memory: up to 4 bytes a token and
            unit, of four hidden states and the FFN, while this runs.
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
        middle=Spill(scratch / "middle"),
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
    middle: Spill
    """The student's normalised sums after attention, (T, D)."""
    inputs: Spill
    """Of the student's dense layer that is being fitted, (T, K - 1)."""
    extra_units: int
    activation: Callable[[Tensor], Tensor]
    """The FFN's."""
    seed: int

    def ffn_gram(self, layer: nn.Module) -> dict[bool, Gram]:
        """Run a layer's FFN as far as its last dense layer; return the sums that this is fit to."""
        grams = {True: Gram(), False: Gram()}
        output = layer.get_submodule(self.architecture.ffn_output)
        for index, held_out in enumerate(self.held_out):
            middle = self.middle.read(index)
            inputs = ffn(layer, middle, self.architecture, output)
            grams[held_out].add(inputs, self.sums.read(index) - middle)
            self.inputs.write(index, inputs)
        return grams


def _absorb_layer(
    number: int, block: _Block, layer: nn.Module, walk: _Walk, *, before: Sequence[Fit]
) -> list[Fit]:
    """Fit a layer's two sites, and move all batches to the layer's output."""
    architecture = walk.architecture
    attention, attention_norm, ffn_output, ffn_norm = (
        layer.get_submodule(path)
        for path in (
            architecture.attention_output,
            architecture.attention_norm,
            architecture.ffn_output,
            architecture.ffn_norm,
        )
    )
    # What comes after the block's last LayerNorm is what the student's must give.
    last_norm = block.layers[-1].get_submodule(architecture.ffn_norm)
    for name, parameter in ffn_norm.named_parameters():
        parameter.copy_(last_norm.get_parameter(name))
    is_last = layer is architecture.layers(walk.student.model.base_model)[-1]
    counting = [_counting(batch["attention_mask"], is_last=is_last) for batch in walk.batches]

    grams = {True: Gram(), False: Gram()}
    for index, (batch, counts) in enumerate(zip(walk.batches, counting, strict=True)):
        sums = _teacher_sums(block, walk.teacher.enter(index, batch), counts, walk, index)
        run = walk.student.enter(index, batch)
        inputs = run.attention(layer, attention)[counts]
        # What the dense layer adds to is the layer's own input.
        grams[walk.held_out[index]].add(inputs, sums - run.hidden[counts])
        walk.inputs.write(index, inputs)
        walk.student.hidden.write(index, run.hidden)
    fits = [_fit_site(attention, grams, number, "attention", before)]

    for index, counts in enumerate(counting):
        total = attention(walk.inputs.read(index)) + walk.student.hidden.read(index)[counts]
        walk.middle.write(index, attention_norm(total))
    fits.append(_fit_ffn(number, layer, walk, before=[*before, *fits]))

    for index, counts in enumerate(counting):
        total = ffn_output(walk.inputs.read(index)) + walk.middle.read(index)
        walk.student.hidden.write(index, _at(counts, ffn_norm(total)))
    return fits


def _counting(mask: Tensor, *, is_last: bool) -> Tensor:
    """Return which tokens count, (B, tokens): real ones, at the last layer the first alone."""
    counts = mask.bool()
    if is_last:
        counts[:, 1:] = False
    return counts


def _at(counts: Tensor, values: Tensor) -> Tensor:
    """Return (B, tokens, D) with values (T, D) at the tokens that count, else zero."""
    everywhere = values.new_zeros(*counts.shape, values.shape[-1])
    everywhere[counts] = values
    return everywhere


def _fit_ffn(number: int, layer: nn.Module, walk: _Walk, *, before: Sequence[Fit]) -> Fit:
    """Fit the FFN's output, extra units included where there are some."""
    dense = layer.get_submodule(walk.architecture.ffn_output)
    gram = walk.ffn_gram(layer)
    if not walk.extra_units:
        return _fit_site(dense, gram, number, "ffn", before)
    missing = gram[True].sums(_transposed(dense)).ee
    if _fit_extra_units(layer, dense, gram, walk):
        gram = walk.ffn_gram(layer)
    left = gram[True].sums(_transposed(dense)).ee
    fit = _fit_site(dense, gram, number, "ffn", before)
    return replace(fit, r2=1 - (1 - fit.r2) * left / missing) if missing else fit


def _fit_extra_units(
    layer: nn.Module, dense: nn.Module, gram: dict[bool, Gram], walk: _Walk
) -> bool:
    """Give the extra units what a regression without the held-out tokens leaves over, if anything.

    The dense layer then stands at that regression, for one on all units to go on from.
    """
    unchanged = _transposed(dense)
    solution = solve(gram[False].sums(unchanged), gram[True].sums(unchanged), first=FIRST_STRENGTH)
    if solution is not None:
        _set(dense, unchanged + solution.unseeing)
    units = fit_units(
        *_left_over(dense, walk), activation=walk.activation, units=walk.extra_units, seed=walk.seed
    )
    if units is None:
        _set(dense, unchanged)
        return False
    set_units(layer, walk.architecture, *units)
    return True


def _left_over(dense: nn.Module, walk: _Walk) -> tuple[Tensor, Tensor]:
    """Return FFN inputs and what is missing for a sample of tokens that are not held out."""
    per_batch = -(-_SAMPLE // len(walk.batches))
    chance = torch.Generator().manual_seed(walk.seed)
    hidden, missing = [], []
    for index, held_out in enumerate(walk.held_out):
        if not held_out:
            middle = walk.middle.read(index)
            rows = torch.randperm(len(middle), generator=chance)[:per_batch]
            total = dense(walk.inputs.read(index)[rows]) + middle[rows]
            hidden.append(middle[rows])
            missing.append(walk.sums.read(index)[rows] - total)
    return torch.cat(hidden), torch.cat(missing)


def _teacher_sums(block: _Block, run: Run, counts: Tensor, walk: _Walk, index: int) -> Tensor:
    """Move a batch through a block; return the sums after the kept layer's attention, (T, D)."""
    sums: dict[str, Tensor] = {}
    for layer in block.layers:
        norms = {"ffn": layer.get_submodule(walk.architecture.ffn_norm)}
        if layer is block.kept:
            norms["attention"] = layer.get_submodule(walk.architecture.attention_norm)
        handles = [
            norm.register_forward_hook(
                lambda norm, arguments, output, name=name: sums.__setitem__(
                    name, _sum_that_gives(output[counts], norm, arguments[0][counts])
                )
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


def _sum_that_gives(output: Tensor, norm: nn.Module, total: Tensor) -> Tensor:
    """Return the sum whose LayerNorm is the output: what it was given, if nothing hangs behind it.

    What an adapter behind it adds is taken back through its scale and the sum's own spread.
    """
    if not hasattr(norm, ADAPTER):
        return total
    normalised: Tensor = norm.forward(total)
    spread = total.std(dim=-1, correction=0, keepdim=True)
    return total + (output - normalised) * spread / norm.get_parameter("weight")


def _fit_site(
    dense: nn.Module, grams: dict[bool, Gram], layer: int, site: str, before: Sequence[Fit]
) -> Fit:
    """Fit a dense layer and change it; where nothing explains the held-out tokens, leave it."""
    weights = _transposed(dense)
    if not (grams[False].finite and grams[True].finite and weights.isfinite().all()):
        raise ValueError(
            f"The activations at layer {layer}, {site}, are not finite: the teacher's or the "
            "student's weights are broken, so nothing can be fitted to them."
        )
    same = (fit.ridge for fit in reversed(before) if fit.site == site and fit.ridge)
    first = next(same, FIRST_STRENGTH)
    solution = solve(grams[False].sums(weights), grams[True].sums(weights), first=first)
    if solution is None:
        return Fit(layer=layer, site=site, r2=0.0, ridge=0.0)
    _set(dense, weights + solution.change)
    return Fit(layer=layer, site=site, r2=solution.r2, ridge=solution.strength)


def _transposed(dense: nn.Module) -> Tensor:
    """Return a dense layer's weight and, in the last row, its bias: (K, D), float64."""
    weight, bias = dense.get_parameter("weight"), dense.get_parameter("bias")
    return torch.cat([weight.T, bias[None]]).double().cpu()


def _set(dense: nn.Module, transposed: Tensor) -> None:
    """Set a dense layer to what `_transposed` returns."""
    dense.get_parameter("weight").copy_(transposed[:-1].T)
    dense.get_parameter("bias").copy_(transposed[-1])
