"""Invertible adapters: a change of the embeddings, before the first layer sees them.

MAD-X (Pfeiffer et al., 2020, https://arxiv.org/abs/2005.00052) adapts the embeddings to a language
with an additive coupling (NICE, Dinh et al., 2015, https://arxiv.org/abs/1410.8516, section 3.2).
Its inverse is before the output embeddings of a language model. A classifier has none, so the
inverse is left out here.

A student cannot have such an adapter, but it has embeddings of its own. `absorb_embeddings` moves
the word vectors so that their normalised sums with positions and types come close, without any
text.

Shapes: B = batch, T = tokens, E = size of the embeddings.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from models.adapters.bottleneck import BottleneckAdapter, BottleneckSettings

_EMBEDDINGS = ("embeddings", "drop", "embed_tokens")
"""Names of the module whose output the first layer gets, in encoders, GPT-2 and Llama."""
_PASSES = 6
"""Each word is fitted at so many random positions."""
_CHUNK = 8192
"""Tokens of one forward pass through the embeddings."""


class Coupling(nn.Module):
    """Each half of the embeddings is moved by a bottleneck's change of the other half.

    New ones change nothing: the bottlenecks' up-projections are zero.
    """

    def __init__(self, size: int, *, reduction: float, activation: str) -> None:
        super().__init__()
        if size % 2:
            raise ValueError(f"expected embeddings of an even size to halve, found {size}")
        form = BottleneckSettings(
            bottleneck_size=int(size // 2 // reduction), activation=activation
        )
        self.first = BottleneckAdapter(size // 2, form)
        self.second = BottleneckAdapter(size // 2, form)

    def forward(self, embedded: Tensor) -> Tensor:
        """Map (B, T, E) to (B, T, E)."""
        first, second = embedded.chunk(2, dim=-1)  # (B, T, E / 2) each
        first = first + self.first.change(second)
        second = second + self.second.change(first)
        return torch.cat([first, second], dim=-1)


class InvertibleSite(nn.Module):
    """The invertible adapters behind a backbone's embeddings: at most one of them is active."""

    def __init__(self) -> None:
        super().__init__()
        self.couplings = nn.ModuleDict()
        self.active: str | None = None

    def forward(self, embedded: Tensor) -> Tensor:
        """Return what the first layer gets, (B, T, E)."""
        if self.active is None or self.active not in self.couplings:
            return embedded
        changed: Tensor = self.couplings[self.active](embedded)
        return changed


def add_invertible(
    model: nn.Module, name: str, *, reduction: float, activation: str, at: str
) -> None:
    """Attach a new invertible adapter behind a backbone's embeddings, in place.

    Args:
        model: The backbone.
        name: The adapter that it belongs to.
        reduction: Half the embeddings' size over the bottleneck's.
        activation: As an adapter's.
        at: Name of the site in the embeddings' module.

    Raises:
        ValueError: when the backbone has no embeddings that are known, or they have no two halves.
    """
    embeddings = _embeddings(model)
    # Any: a config's attributes are its own.
    config: Any = model.config
    size = int(getattr(config, "embedding_size", config.hidden_size))
    coupling = Coupling(size, reduction=reduction, activation=activation)
    if invertible_site(model) is None:
        embeddings.add_module(at, InvertibleSite().train(embeddings.training))
        embeddings.register_forward_hook(partial(_on_embedded, at))
    site = invertible_site(model)
    if site is not None:
        site.couplings[name] = coupling.to(next(model.parameters())).train(embeddings.training)


def invertible_site(model: nn.Module) -> InvertibleSite | None:
    """Return a model's site of invertible adapters, if it has one."""
    backbone = getattr(model, "base_model", model)
    places = [getattr(backbone, name) for name in _EMBEDDINGS if hasattr(backbone, name)]
    return next((m for p in places for m in p.children() if isinstance(m, InvertibleSite)), None)


def has_invertible(model: nn.Module) -> bool:
    """Return whether an invertible adapter is active."""
    site = invertible_site(model)
    return site is not None and site.active is not None and site.active in site.couplings


@torch.no_grad()
def absorb_embeddings(teacher: nn.Module, student: nn.Module, *, length: int, seed: int) -> float:
    """Move the student's word vectors to where its embeddings come closest to the teacher's.

    The embeddings end with a LayerNorm, and only its output counts. At each position, some change
    of a word's sum gives the teacher's output. The word's vector gains the mean of these changes.
    The remainder differs between positions, or is a token's mean and spread, which LayerNorm sets.

    Args:
        teacher: A backbone with an active invertible adapter, in eval mode.
        student: Its own shape, without adapters, in eval mode; changed in place.
        length: Number of positions, in tokens, that the longest input has.
        seed: Seed for drawing the positions.

    Returns:
        The part of the invertible adapter's change that the student's embeddings took over, with
        words at other positions than those that were fitted to; 0 where none was.

    Raises:
        ValueError: when the embeddings have no word vectors that a LayerNorm follows.
    """
    embeddings = _embeddings(student)
    words = getattr(embeddings, "word_embeddings", None)
    norm = getattr(embeddings, "LayerNorm", None)
    if not isinstance(words, nn.Embedding) or not isinstance(norm, nn.Module):
        raise ValueError("invertible adapters are absorbed by embeddings that end with a LayerNorm")
    source, before = _embeddings(teacher), words.weight.clone()
    scale, shift = norm.get_parameter("weight"), norm.get_parameter("bias")
    changes, seen = torch.zeros_like(before), before.new_zeros(len(before), 1)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(_PASSES):
        for ids in _words_in_places(before, length, generator):
            sums = _sums_before(embeddings, norm, ids)
            wanted = (source(input_ids=ids) - shift) / scale
            wanted = nn.functional.layer_norm(wanted, wanted.shape[-1:])
            mean, spread = sums.mean(-1, keepdim=True), sums.std(-1, correction=0, keepdim=True)
            changes.index_add_(0, ids.flatten(), (wanted * spread + mean - sums).flatten(0, 1))
            seen.index_add_(0, ids.flatten(), seen.new_ones(ids.numel(), 1))
    others = list(_words_in_places(before, length, generator))
    missing = _distance(source, embeddings, others)
    words.weight.add_(changes / seen.clamp(min=1))
    left = _distance(source, embeddings, others)
    if not left < missing:
        words.weight.copy_(before)
        return 0.0
    return 1 - left / missing


def _words_in_places(vectors: Tensor, length: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield ids of words, (B, T), beside their vectors: each at most once, in a random place."""
    count = len(vectors)
    length = min(length, count)
    order = torch.randperm(count, generator=generator).to(vectors.device)
    rows = order[: count // length * length].reshape(-1, length)
    yield from rows.split(max(1, _CHUNK // length))


def _distance(source: nn.Module, embeddings: nn.Module, batches: list[Tensor]) -> float:
    """Return the sum of squares between two modules' embeddings of the same words."""
    return sum(
        float((source(input_ids=ids) - embeddings(input_ids=ids)).square().sum()) for ids in batches
    )


def _sums_before(embeddings: nn.Module, norm: nn.Module, ids: Tensor) -> Tensor:
    """Return what the embeddings' LayerNorm is given, (B, T, E)."""
    sums: list[Tensor] = []
    handle = norm.register_forward_pre_hook(lambda _, arguments: sums.append(arguments[0]))
    embeddings(input_ids=ids)
    handle.remove()
    return sums[0]


def _embeddings(model: nn.Module) -> nn.Module:
    found = next((getattr(model, name) for name in _EMBEDDINGS if hasattr(model, name)), None)
    if not isinstance(found, nn.Module):
        raise ValueError(
            f"no place behind the embeddings is known for {type(model).__name__}; known are "
            f"modules named {', '.join(_EMBEDDINGS)}"
        )
    return found


# Any: torch types a hook's module, arguments and output as such.
def _on_embedded(at: str, module: Any, _: Any, output: Tensor) -> Tensor:
    changed: Tensor = getattr(module, at)(output)
    return changed
