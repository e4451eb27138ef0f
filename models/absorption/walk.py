"""The walk through both models: groups of the teacher's layers, and the student's layer for each.

Shapes: B = texts of a batch, T = tokens of a batch that count, D = hidden size, K = inputs of a
dense layer, plus one for its bias.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

from torch import Tensor, nn
from transformers import BatchEncoding

from models.absorption.fit import empty_grams, of_all_processes, sum_that_gives
from models.absorption.layerwise import Run, Side, Spill, ffn
from models.absorption.ridge import Gram
from models.absorption.token_weights import Margins, Site, TokenWeights
from models.architectures.architecture import Architecture
from models.processes import own_part

Weigh = Callable[[int], Tensor | None]
"""(a batch) -> weights of its tokens that count, (T,); None where all count alike."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AbsorptionPlan:
    """Settings of an absorption."""

    held_out: Sequence[bool]
    """For each batch, whether it only chooses the ridge strength."""
    counting: Sequence[Tensor] | None = None
    """For each batch, the mask of the last layer's tokens that count, (B, tokens). By default, all
    real tokens count."""
    margins: Margins | None = None
    """Function of the numbers that answers depend on, whose gradients weigh the tokens. None weighs
    all tokens the same."""
    kept: Sequence[int] | None = None
    """Layer of the teacher that each of the student's layers came from; all layers by default."""
    extra_units: int = 0
    """Number of units that `widen_ffn` added to every FFN of the student. They are fitted to the
    error of the regression."""
    rank: int | None = None
    """Highest rank of each weight's change; None leaves it free."""
    seed: int = 0
    """Seed for initialising the extra units, and for the directions of several margins."""


def own_plan(plan: AbsorptionPlan) -> AbsorptionPlan:
    """Return a plan for the batches of this process alone."""
    counting = None if plan.counting is None else own_part(plan.counting)
    return replace(plan, held_out=own_part(plan.held_out), counting=counting)


class LayerGroup(NamedTuple):
    """Consecutive layers of the teacher that one layer of the student replaces."""

    layers: list[nn.Module]
    first: int
    """Number of the group's first layer in the teacher."""
    kept: int
    """Position in the group of the layer that the student's layer came from."""


def groups_of(layers: nn.ModuleList, kept: Sequence[int] | None) -> list[LayerGroup]:
    """Group each skipped layer with the kept one before it, and the very first with the first."""
    numbers = list(range(len(layers))) if kept is None else list(kept)
    starts = [0, *numbers[1:]]
    ends = [*numbers[1:], len(layers)]
    return [
        LayerGroup(list(layers[start:end]), first=start, kept=number - start)
        for start, end, number in zip(starts, ends, numbers, strict=True)
    ]


@dataclass(frozen=True, kw_only=True, slots=True)
class Walk:
    """State that the fits of all layers share."""

    teacher: Side
    student: Side
    architecture: Architecture
    batches: Sequence[BatchEncoding]
    plan: AbsorptionPlan
    weights: TokenWeights | None
    """Weights of all tokens; None where all weigh the same."""
    real: Spill
    """Masks of the tokens that are no padding, (B, tokens)."""
    counting: Spill
    """Masks of the tokens that count at the last layer, (B, tokens)."""
    sums: Spill
    """Sums of the teacher before the group's last LayerNorm, (T, D)."""
    middle: Spill
    """Normalised sums of the student after attention, (T, D)."""
    inputs: Spill
    """Inputs of the student's dense layer that is being fitted, (T, K - 1)."""
    activation: Callable[[Tensor], Tensor]
    """Activation function of the FFN."""

    def weigh(self, site: Site, counting: Spill, index: int) -> Tensor | None:
        """Return the weights of a batch's tokens that count, (T,), at a sum of the teacher."""
        found = None if self.weights is None else self.weights.of(index, site)
        return None if found is None else found[counting.read(index)]

    def ffn_gram(self, layer: nn.Module, weigh: Weigh) -> dict[bool, Gram]:
        """Run a layer's FFN up to its last dense layer, and return the sums for fitting that."""
        output = self.architecture.dense(layer, "ffn")
        grams = empty_grams(output)
        for index, held_out in enumerate(self.plan.held_out):
            middle = self.middle.read(index)
            inputs = ffn(layer, middle, self.architecture, output)
            grams[held_out].add(inputs, self.sums.read(index) - middle, weigh(index))
            self.inputs.write(index, inputs)
        return of_all_processes(grams, output)


def teacher_sums(group: LayerGroup, run: Run, counts: Tensor, walk: Walk, index: int) -> Tensor:
    """Move a batch through a group; return the sums after the kept layer's attention, (T, D)."""
    architecture = walk.architecture
    sums: dict[str, Tensor] = {}

    def take(name: str, norm: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> None:
        total = arguments[0][counts]
        if not architecture.norm_first:
            total = sum_that_gives(output[counts], norm, total)
        sums[name] = total

    for number, layer in enumerate(group.layers):
        norms = {"ffn": architecture.norm_after(layer, "ffn")}
        if number == group.kept:
            norms["attention"] = architecture.norm_of_middle(layer)
        handles = [
            norm.register_forward_hook(partial(take, name))
            for name, norm in norms.items()
            if norm is not None
        ]
        run.hidden = run.through(layer)
        for handle in handles:
            handle.remove()
    walk.teacher.hidden.write(index, run.hidden)
    walk.sums.write(index, sums.get("ffn", run.hidden[counts]))
    return sums["attention"]
