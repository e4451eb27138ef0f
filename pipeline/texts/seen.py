"""Texts that were seen before, by their digests: 16 bytes for each, however long it is."""

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pipeline.texts.tables import Text

_KIND = "S16"


def digests_of(texts: "Sequence[Text]") -> np.ndarray:
    """Return the digest of each text or pair, (N,)."""
    found = [hashlib.blake2b("\0".join(text).encode(), digest_size=16).digest() for text in texts]
    return np.array(found, dtype=_KIND)


class SeenTexts:
    """A set of texts, kept as sorted runs of digests.

    Each run is longer than the next one, so there are few, and a digest is rarely moved.
    """

    def __init__(self) -> None:
        self.runs: list[np.ndarray] = []

    def add(self, texts: "Sequence[Text]") -> np.ndarray:
        """Add texts; return which of them were not there, (N,): of equal ones the first."""
        digests = digests_of(texts)
        own, first = np.unique(digests, return_index=True)
        is_new = np.ones(len(own), dtype=bool)
        for run in self.runs:
            places = np.minimum(np.searchsorted(run, own), len(run) - 1)
            is_new &= run[places] != own
        self._keep(own[is_new])
        fresh = np.zeros(len(digests), dtype=bool)
        fresh[first[is_new]] = True
        return fresh

    def _keep(self, run: np.ndarray) -> None:
        while self.runs and len(self.runs[-1]) <= len(run):
            run = np.sort(np.concatenate([self.runs.pop(), run]))
        if len(run):
            self.runs.append(run)
