"""Inputs of the benchmark's calls: token ids of a fixed shape, or of the data's own lengths.

Shapes: B = batch, T = tokens.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pipeline.errors import refusing
from pipeline.facts.latency import cell_name
from pipeline.inference.tokens import load_encoder
from pipeline.texts.tables import Text
from pipeline.timing.time_cell import TokenIds


@dataclass(frozen=True, kw_only=True, slots=True)
class Workload:
    """The calls of one cell."""

    batch: int
    """Texts per call."""
    length: int | None
    """Tokens per text; None: texts of several lengths."""
    calls: list[TokenIds]
    """Token ids of each, (B, T)."""
    past: int = 0
    """Tokens before these, whose keys and values are given: a language model's alone."""

    @property
    def name(self) -> str:
        """Return the cell's name, for people."""
        return cell_name(self.batch, self.length, self.past)


def fixed_shape(batch: int, length: int, *, vocabulary: int, seed: int) -> Workload:
    """Return one call of random token ids."""
    ids = np.random.default_rng(seed).integers(min(1, vocabulary - 1), vocabulary, (batch, length))
    return Workload(batch=batch, length=length, calls=[ids.tolist()])


def fixed_shapes(
    batch_sizes: Sequence[int], lengths: Sequence[int], *, vocabulary: int, seed: int
) -> list[Workload]:
    """Return one such call for every batch size and length."""
    return [
        fixed_shape(batch, length, vocabulary=vocabulary, seed=seed)
        for batch in batch_sizes
        for length in lengths
    ]


def decode_steps(
    batch_sizes: Sequence[int], past: Sequence[int], *, vocabulary: int, seed: int
) -> list[Workload]:
    """Return a call of single tokens for every batch size and number of tokens before them."""
    return [
        replace(fixed_shape(batch, 1, vocabulary=vocabulary, seed=seed), past=before)
        for batch in batch_sizes
        for before in past
    ]


def own_lengths(
    bundle: Path, texts: Sequence[Text], *, count: int, max_length: int, vocabulary: int
) -> Workload:
    """Return one call for each of ``count`` texts that represent the lengths of all texts.

    The texts are sorted by length and cut into equal parts, and each part gives its middle text.
    The mean length of the sample is therefore that of the data. Token ids above the smallest
    vocabulary are folded into it; a call takes the same time for any ids.

    Args:
        bundle: Folder with ``tokenizer.json`` and ``tokenizer_config.json``.
        max_length: Longest input, in tokens; longer texts are cut.
    """
    with refusing(f"Cannot use {bundle / 'tokenizer.json'}", "Export it again, or copy it anew."):
        rows = load_encoder(bundle, max_length=max_length).encode(texts)
    ids = sorted((row["input_ids"] for row in rows), key=len)
    count = min(count, len(ids))
    middles = [int((part + 0.5) * len(ids) / count) for part in range(count)]
    calls = [[[token % vocabulary for token in ids[row]]] for row in middles]
    return Workload(batch=1, length=None, calls=calls)


def smallest_vocabulary(bundles: Iterable[Path]) -> int:
    """Return how many token ids there are that all of these bundles' models know."""
    configs = [bundle / "config.json" for bundle in bundles]
    return min(int(json.loads(path.read_text("utf-8"))["vocab_size"]) for path in configs)


def tokenizer_limit(bundle: Path) -> int:
    """Return the longest input that a bundle's tokenizer makes, in tokens."""
    path = bundle / "tokenizer_config.json"
    with refusing(f"Cannot use {path}", "Export it again, or copy it anew."):
        settings = json.loads(path.read_text(encoding="utf-8"))
        return int(min(settings.get("model_max_length", 512), 100_000))
