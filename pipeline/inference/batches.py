"""Batches of texts of similar lengths, within limits of texts and of padded tokens."""

from collections.abc import Iterator

import numpy as np


def cut_batches(
    order: np.ndarray, lengths: np.ndarray, batch_size: int, batch_tokens: int | None
) -> Iterator[np.ndarray]:
    """Cut rows that are sorted by length into batches within both limits."""
    start = 0
    while start < len(order):
        end = min(start + batch_size, len(order))
        # Rows get longer to the end: the last one is the width of the batch.
        while batch_tokens and end > start + 1:
            if (end - start) * lengths[order[end - 1]] <= batch_tokens:
                break
            end -= 1
        yield order[start:end]
        start = end
