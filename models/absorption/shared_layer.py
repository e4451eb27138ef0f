"""Absorption into a layer that is run several times with one set of weights, as in ALBERT.

A site's change must serve all passes at once. Each site therefore has one regression over the
tokens of all passes. The student's own hidden states can't be used, because its first pass already
needs the unknown weights. The fit is therefore to inputs and outputs of the teacher's passes.

Shapes: T = real tokens of a batch, D = hidden size, K - 1 = inputs of a dense layer.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn
from transformers import BatchEncoding, PreTrainedModel

from models.absorption.fit import Fit, empty_grams, fit_site, of_all_processes, sum_that_gives
from models.absorption.token_weights import TokenWeights
from models.architectures.architecture import Architecture, Position

_POSITIONS: tuple[Position, Position] = ("attention", "ffn")


def absorb_shared(
    teacher: PreTrainedModel,
    student: PreTrainedModel,
    architecture: Architecture,
    batches: Sequence[BatchEncoding],
    weights: TokenWeights | None,
    *,
    held_out: Sequence[bool],
    rank: int | None = None,
) -> list[Fit]:
    """Change the student's shared dense layers, in place, and return the result of each fit.

    Args:
        teacher: Model with adapters, in eval mode.
        student: Model of the backbone's shape, in eval mode.
        architecture: Paths of the sites in both models.
        batches: Token ids and masks of unlabelled texts.
        weights: Weights of all tokens by pass; None where all weigh the same.
        held_out: For each batch, whether it only chooses the ridge strength.
        rank: Highest rank of each weight's change; None leaves it free.

    Raises:
        ValueError: when an activation is not finite.
    """
    (layer,) = architecture.layers(teacher.base_model)
    (own,) = architecture.layers(student.base_model)
    grams = {position: empty_grams(architecture.dense(own, position)) for position in _POSITIONS}
    for index, (batch, is_held_out) in enumerate(zip(batches, held_out, strict=True)):
        real = batch["attention_mask"].bool()
        for number, (position, inputs, wanted) in enumerate(
            _passes(teacher, layer, architecture, batch, real)
        ):
            site = (number // len(_POSITIONS), position)
            found = None if weights is None else weights.of(index, site)
            counts = None if found is None else found[real]
            grams[position][is_held_out].add(inputs, wanted, counts)
    fits: list[Fit] = []
    for position in _POSITIONS:
        dense = architecture.dense(own, position)
        sums = of_all_processes(grams[position], dense)
        fits.append(fit_site(dense, sums, 0, position, fits, rank=rank))
    return fits


def _passes(
    teacher: PreTrainedModel,
    layer: nn.Module,
    architecture: Architecture,
    batch: BatchEncoding,
    real: Tensor,
) -> list[tuple[Position, Tensor, Tensor]]:
    """Return inputs (T, K - 1) and wanted outputs of the dense layer of each pass and half."""
    found: list[tuple[Position, Tensor, Tensor]] = []
    residuals: list[Tensor] = []
    inputs: list[Tensor] = []

    def enter(_: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        residuals.append(arguments[0][real])

    def take(_: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        inputs.append(arguments[0][real])

    def leave(
        position: Position, norm: nn.Module, arguments: tuple[Tensor, ...], output: Any
    ) -> None:
        total = sum_that_gives(output[real], norm, arguments[0][real])
        found.append((position, inputs.pop(), total - residuals.pop()))

    handles = []
    for position in _POSITIONS:
        norm = architecture.norm_after(layer, position)
        if norm is None:
            raise TypeError("expected a shared layer with a LayerNorm after each residual sum")
        handles += [
            architecture.input_source(layer, position).register_forward_pre_hook(enter),
            architecture.dense(layer, position).register_forward_pre_hook(take),
            norm.register_forward_hook(partial(leave, position)),
        ]
    try:
        teacher.base_model(**batch)
    finally:
        for handle in handles:
            handle.remove()
    return found
