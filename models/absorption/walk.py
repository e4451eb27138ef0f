"""The walk through both models: the teacher's layers, and the student's that stand for them.

Shapes: B = texts of a batch, T = its tokens that count, D = hidden size, K = inputs of a dense
layer, plus one for its bias.
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
from models.absorption.token_weights import Margins, TokenWeights
from models.architectures.architecture import Architecture, Position
from models.processes import own_part


@dataclass(frozen=True, kw_only=True, slots=True)
class AbsorptionPlan:
    """How adapters are absorbed."""

    held_out: Sequence[bool]
    """For each batch, whether it only chooses the ridge strength."""
    counting: Sequence[Tensor] | None = None
    """For each batch, the last layer's tokens that count, (B, tokens); all real ones by default."""
    margins: Margins | None = None
    """What the teacher's answers depend on: tokens are weighed by how much it feels them. None
    weighs all tokens alike."""
    kept: Sequence[int] | None = None
    """The teacher's layer that each of the student's came from; all by default."""
    extra_units: int = 0
    """Units of every FFN of the student that do nothing yet, as `widen_ffn` adds them: they are
    fitted to what the regression leaves over."""
    rank: int | None = None
    """Highest rank of each weight's change; None leaves it free."""
    seed: int = 0
    """Seed for initialising the extra units, and for the directions of several margins."""


def own_plan(plan: AbsorptionPlan) -> AbsorptionPlan:
    """Return a plan for the batches of this process alone."""
    counting = None if plan.counting is None else own_part(plan.counting)
    return replace(plan, held_out=own_part(plan.held_out), counting=counting)


class LayerGroup(NamedTuple):
    """The teacher's layers that one of the student's stands for."""

    layers: list[nn.Module]
    first: int
    """Number of the first of them in the teacher."""
    kept: int
    """Position among them of the one that the student's came from."""


def groups_of(layers: nn.ModuleList, kept: Sequence[int] | None) -> list[LayerGroup]:
    """Give each skipped layer to the kept one before it, the very first ones to the first."""
    numbers = list(range(len(layers))) if kept is None else list(kept)
    starts = [0, *numbers[1:]]
    ends = [*numbers[1:], len(layers)]
    return [
        LayerGroup(list(layers[start:end]), first=start, kept=number - start)
        for start, end, number in zip(starts, ends, numbers, strict=True)
    ]


@dataclass(frozen=True, kw_only=True, slots=True)
class Walk:
    """What stays the same from layer to layer."""

    teacher: Side
    student: Side
    architecture: Architecture
    batches: Sequence[BatchEncoding]
    plan: AbsorptionPlan
    weights: Sequence[TokenWeights]
    """Of each batch's tokens, by the teacher's layer and half; empty where all count alike."""
    sums: Spill
    """The teacher's sums before the group's last LayerNorm, (T, D)."""
    middle: Spill
    """The student's normalised sums after attention, (T, D)."""
    inputs: Spill
    """Of the student's dense layer that is being fitted, (T, K - 1)."""
    activation: Callable[[Tensor], Tensor]
    """Activation function of the FFN."""

    def weigh(
        self, number: int, position: Position, counting: Sequence[Tensor]
    ) -> list[Tensor | None]:
        """Return the weights of each batch's tokens that count, (T,), at a sum of the teacher."""
        return [
            of[number, position][counts] if (number, position) in of else None
            for of, counts in zip(self.weights, counting, strict=True)
        ]

    def ffn_gram(self, layer: nn.Module, weights: Sequence[Tensor | None]) -> dict[bool, Gram]:
        """Run a layer's FFN as far as its last dense layer; return the sums that this is fit to."""
        output = self.architecture.dense(layer, "ffn")
        grams = empty_grams(output)
        for index, held_out in enumerate(self.plan.held_out):
            middle = self.middle.read(index)
            inputs = ffn(layer, middle, self.architecture, output)
            grams[held_out].add(inputs, self.sums.read(index) - middle, weights[index])
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
