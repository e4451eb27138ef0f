"""Token weights: the effect of each sum before LayerNorm on a teacher's answers.

A regression of hidden states treats all tokens alike, but the answers do not. A change of one
token's sum moves the answers much, the same change of another token's sum hardly. The gradient of
the answers' margins measures that effect. Weighted by it, a regression is most exact where errors
cost most. A neighbour is GuidedQuant (Kim et al., 2025, https://arxiv.org/abs/2505.07004). It
weighs the errors of quantised layers by the gradient of the loss.

The weight is ``g / mean(g) + 0.05`` with g the gradient's norm. With its square, the Fisher
information of the sum, the student is less close. A few tokens then have most of the weight.

Shapes: B = texts of a batch, T = tokens, D = hidden size, M = margins of a text.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import BatchEncoding, PreTrainedModel

from models.absorption.layerwise import Spill
from models.architectures.architecture import Architecture, Position
from models.processes import count_processes, exchange, own_number

FLOOR = 0.05
"""Weight of a token without effect on any answer, where 1 is about the mean. A token of weight 0
could change without limit."""

Margins = Callable[[PreTrainedModel, BatchEncoding, Tensor], Tensor]
"""Function of (a model, its inputs, mask of the tokens with outputs (B, T)). It returns the numbers
that a text's answer depends on, (B, M)."""
Site = tuple[int, Position]
"""A layer of the teacher, and its half."""


class TokenWeights:
    """Weights of all tokens of all batches, on disk where they are too many for memory."""

    def __init__(self, felt: Spill, means: Mapping[Site, float]) -> None:
        self.felt = felt
        self.means = {site: mean for site, mean in means.items() if mean > 0}

    def of(self, index: int, site: Site) -> Tensor | None:
        """Return the weights of a batch's tokens, (B, T); None at a sum without any effect."""
        if site not in self.means:
            return None
        return self.felt.read((index, site)) / self.means[site] + FLOOR


def token_weights(
    teacher: PreTrainedModel,
    architecture: Architecture,
    batches: Sequence[BatchEncoding],
    margins: Margins,
    *,
    seed: int,
    scratch: Path,
    counting: Sequence[Tensor] | None = None,
) -> TokenWeights:
    """Return the weights of all tokens at every sum of the teacher.

    Several margins of a text are combined in a random direction, so that it costs one backward
    pass. This is Hutchinson's estimate of the gradients' norm. Layers that are run several times
    are numbered by their runs.

    Args:
        teacher: Model in eval mode.
        architecture: Paths of the sums in the teacher.
        batches: Token ids and masks.
        margins: Function that returns the numbers that answers depend on.
        seed: Seed of the random directions.
        scratch: New folder for weights that are too many for memory.
        counting: For each batch, the mask of tokens with outputs, (B, T), in place of its own mask.
    """
    felt = Spill(scratch, teacher.device)
    sums: dict[Site, float] = defaultdict(float)
    tokens = 0
    for index, batch in enumerate(batches):
        mask = batch["attention_mask"]
        read = mask if counting is None else counting[index]
        rng = _directions(seed, index)
        norms = _gradients(teacher, architecture, batch, read, margins, rng)
        for site, found in norms.items():
            felt.write((index, site), found)
            sums[site] += float(found[mask.bool()].sum())
        tokens += int(mask.sum())
    parts = exchange((tokens, dict(sums)))
    total = sum(count for count, _ in parts)
    sites = next(of for _, of in parts if of)
    means = {site: sum(of.get(site, 0.0) for _, of in parts) / total for site in sites}
    return TokenWeights(felt, means)


def _directions(seed: int, index: int) -> torch.Generator:
    """Return a batch's generator of directions, seeded by its number among all batches."""
    number = own_number() + index * count_processes()
    return torch.Generator().manual_seed(seed + number)


@torch.enable_grad()
def _gradients(
    teacher: PreTrainedModel,
    architecture: Architecture,
    batch: BatchEncoding,
    mask: Tensor,
    margins: Margins,
    rng: torch.Generator,
) -> dict[Site, Tensor]:
    """Return the norm of the margins' gradient at each sum, (B, T)."""
    sums: dict[Position, list[Tensor]] = {"attention": [], "ffn": []}
    handles = [teacher.get_input_embeddings().register_forward_hook(_begin_graph)]
    for layer in architecture.layers(teacher.base_model):
        handles += _watch(layer, architecture, sums)
    try:
        found = margins(teacher, batch, mask)  # (B, M)
    finally:
        for handle in handles:
            handle.remove()
    signs = torch.randint(2, found.shape, generator=rng).to(found) * 2 - 1
    gradients = torch.autograd.grad(
        (found * signs).sum(),
        [*sums["attention"], *sums["ffn"]],
        allow_unused=True,
        materialize_grads=True,
    )
    norms = [gradient.float().norm(dim=-1) for gradient in gradients]
    runs = len(sums["attention"])
    return {
        **{(number, "attention"): norm for number, norm in enumerate(norms[:runs])},
        **{(number, "ffn"): norm for number, norm in enumerate(norms[runs:])},
    }


def _begin_graph(_: nn.Module, _arguments: object, output: Tensor) -> Tensor:
    """Let gradients reach the layers although every weight may be frozen."""
    return output if output.requires_grad else output.requires_grad_()


def _watch(
    layer: nn.Module, architecture: Architecture, sums: dict[Position, list[Tensor]]
) -> list[Any]:
    """Keep a layer's two sums whenever it is run; return the hooks' handles."""

    def given(position: Position, _: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        sums[position].append(arguments[0])

    def result(_: nn.Module, _arguments: object, output: Any) -> None:
        sums["ffn"].append(output[0] if isinstance(output, tuple) else output)

    middle = architecture.norm_of_middle(layer)
    handles = [middle.register_forward_pre_hook(partial(given, "attention"))]
    norm = architecture.norm_after(layer, "ffn")
    if norm is None:
        return [*handles, layer.register_forward_hook(result)]
    return [*handles, norm.register_forward_pre_hook(partial(given, "ffn"))]
