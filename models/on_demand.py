"""Sequences whose items are made when they are asked for, and not kept."""

from collections.abc import Callable, Sequence
from typing import TypeVar, overload

Item = TypeVar("Item", covariant=True)


class OnDemand(Sequence[Item]):
    """As many items as there are numbers, each made of its own."""

    def __init__(self, make: Callable[[int], Item], numbers: range) -> None:
        self.make = make
        self.numbers = numbers

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self.numbers)

    @overload
    def __getitem__(self, at: int) -> Item: ...
    @overload
    def __getitem__(self, at: slice) -> "OnDemand[Item]": ...
    def __getitem__(self, at: int | slice) -> "Item | OnDemand[Item]":
        """Return an item, or some of them, still to be made."""
        if isinstance(at, slice):
            return OnDemand(self.make, self.numbers[at])
        return self.make(self.numbers[at])
