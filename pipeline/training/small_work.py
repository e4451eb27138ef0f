"""Work whose steps are small: it runs on one thread.

Two threads share a step's products and wait for each other at the end of each. On an idle machine
they gain little where a step takes a millisecond. Beside other work one of them waits for a
processor, a few milliseconds at a time: a head that trains in 5 s on one thread took 70 s on two.

The trainer does without: one token of a backbone of 22 million parameters is nearly as much as the
limit below, so that no step of a real training is small.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

_SMALL = 30_000_000
"""Multiply-adds: about a millisecond of one processor."""


@contextmanager
def threads_for(multiply_adds: int) -> Iterator[None]:
    """Let torch use one thread in the block, if that many multiply-adds per step are few."""
    before = torch.get_num_threads()
    if multiply_adds > _SMALL or before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
