"""Work in small steps, which runs on one thread.

Two threads share a step's products and wait for each other at the end of each. On an idle machine
they gain little if a step takes a millisecond. Beside other work, one of them waits for a
processor, a few milliseconds at a time. A head that trains in 5 s on one thread took 70 s on two.

The trainer does not need this, because no step of a real training is small. One token of a backbone
of 22 million parameters nearly reaches the limit below.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

_SMALL = 30_000_000
"""Most multiply-adds of a small step, about a millisecond of one processor."""


@contextmanager
def threads_for(multiply_adds: int) -> Iterator[None]:
    """Limit torch to one thread in the block, if steps have few multiply-adds."""
    before = torch.get_num_threads()
    if multiply_adds > _SMALL or before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
