"""Students, trials or methods in turn: at each, a log record of its place and the time left.

Only built stages give a pace, because reused ones take no time.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from pipeline.chain.outlook import say_left
from pipeline.chain.program import Item, Program
from pipeline.errors import InputError
from pipeline.store.stage import Stage

logger = logging.getLogger("pipeline.outlook")

Value = TypeVar("Value")


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """Place of one of several like things, and the time left; a record's attribute ``outlook``."""

    kind: str
    """Noun for one of them, such as ``student``."""
    number: int
    """Number of this one, from 1; one more than all of them when they are done."""
    total: int
    name: str
    title: str
    """Title of the progress bar on a run's page, the plural of the kind."""
    seconds_left: float | None
    """Time left with this one, in seconds, at the pace of those before; None without a pace."""

    @property
    def percent(self) -> float:
        """Share of those that are done, in percent."""
        return 100 * (self.number - 1) / self.total

    def __str__(self) -> str:
        """Return the place as a line for a log."""
        if self.number > self.total:
            return f"all {self.title} are done"
        line = f"{self.kind} {self.number} of {self.total}: {self.name}"
        return line if self.seconds_left is None else f"{line}; {say_left(self.seconds_left)}"


class Turns:
    """The turns of one program, which measures their pace."""

    def __init__(self, kind: str, total: int, *, title: str) -> None:
        self._kind, self._total, self._title = kind, total, title
        self._taken = self._built = 0
        self._seconds = 0.0

    def take(self, name: str, program: Program[Value]) -> Program[Value]:
        """Log the next one and yield its steps, as ``yield from`` does; return what it does."""
        left = self._total - self._taken
        pace = self._seconds / self._built if self._built else None
        self._log(name, self._taken + 1, None if pace is None else left * pace)
        before = self._seconds
        value = yield from self._timed(program)
        self._taken += 1
        self._built += self._seconds > before
        return value

    def end(self) -> None:
        """Log that all are done."""
        self._log("", self._total + 1, None)

    def _timed(self, program: Program[Value]) -> Program[Value]:
        """Yield a program's steps, and add up the time of those that were built."""
        advance: Callable[[], Item] = partial(next, program)
        while True:
            try:
                item = advance()
            except StopIteration as end:
                value: Value = end.value
                return value
            began = time.monotonic()
            try:
                result = yield item
            except InputError as error:
                advance = partial(program.throw, error)
            else:
                if _is_new(result):
                    self._seconds += time.monotonic() - began
                advance = partial(program.send, result)

    def _log(self, name: str, number: int, seconds_left: float | None) -> None:
        turn = Turn(
            kind=self._kind,
            number=number,
            total=self._total,
            name=name,
            title=self._title,
            seconds_left=seconds_left,
        )
        logger.info("%s", turn, extra={"outlook": turn})


def _is_new(result: object) -> bool:
    """Return whether any stage of a step's result was built in this run."""
    stages = result if isinstance(result, tuple) else (result,)
    return any(isinstance(each, Stage) and not each.reused for each in stages)
