"""Students, trials or methods in turn: at each, a log record of its place and the time left."""

import logging
import time
from dataclasses import dataclass

from pipeline.chain.outlook import say_left

logger = logging.getLogger("pipeline.outlook")

_REUSED_SECONDS = 1.0
"""Seconds in which a turn ends whose stages are all reused; it says nothing about the others."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """Place of one of several like things, and the time left; a record's attribute ``outlook``."""

    kind: str
    """Noun for one of them, such as ``student``."""
    number: int
    """Number of this one, from 1."""
    total: int
    name: str
    title: str
    """Title of the progress bar on a run's page."""
    seconds_left: float | None
    """Time left with this one, in seconds, at the pace of those before; None without a pace."""

    @property
    def percent(self) -> float:
        """Share of those that are done, in percent."""
        return 100 * (self.number - 1) / self.total

    def __str__(self) -> str:
        """Return the place as a line for a log."""
        line = f"{self.kind} {self.number} of {self.total}: {self.name}"
        return line if self.seconds_left is None else f"{line}; {say_left(self.seconds_left)}"


class Turns:
    """The turns of one program, which measures their pace."""

    def __init__(self, kind: str, total: int, *, title: str) -> None:
        self._kind, self._total, self._title = kind, total, title
        self._number = self._built = 0
        self._seconds = 0.0
        self._began = time.monotonic()

    def begin(self, name: str) -> None:
        """Log the next one, before any of its stages."""
        now = time.monotonic()
        if self._number and now - self._began > _REUSED_SECONDS:
            self._built += 1
            self._seconds += now - self._began
        self._number, self._began = self._number + 1, now
        left = self._total - self._number + 1
        turn = Turn(
            kind=self._kind,
            number=self._number,
            total=self._total,
            name=name,
            title=self._title,
            seconds_left=left * self._seconds / self._built if self._built else None,
        )
        logger.info("%s", turn, extra={"outlook": turn})
