"""The processes that share a work: each has its part of the rows, and sums are those of all.

One process alone exchanges nothing. Every function below `own_part` must be called by all of
them, in the same order.
"""

from collections.abc import Sequence
from typing import TypeVar

import torch.distributed as dist
from torch import Tensor

Item = TypeVar("Item")


def count_processes() -> int:
    """Return how many processes share the work."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def own_number() -> int:
    """Return the number of this process, from 0 on."""
    return dist.get_rank() if count_processes() > 1 else 0


def is_first() -> bool:
    """Return whether this process writes what all have made."""
    return own_number() == 0


def own_part(items: Sequence[Item]) -> Sequence[Item]:
    """Return this process's share of the items; of N processes each takes every Nth one."""
    return items[own_number() :: count_processes()]


def add_up(values: Tensor) -> Tensor:
    """Return the sum of all processes' tensors, in place."""
    if count_processes() > 1:
        dist.all_reduce(values)
    return values


def exchange(value: Item) -> list[Item]:
    """Return the values of all processes, in the order of their numbers."""
    if count_processes() == 1:
        return [value]
    values: list[Item] = [value] * count_processes()
    dist.all_gather_object(values, value)
    return values
