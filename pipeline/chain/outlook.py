"""Outlook on a run: at each build, the stage's place and usual share, and the time left.

The usual shares of this stage and the later ones give the time left, at the run's pace so far. Only
built stages give a pace, because reused ones take no time.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from pipeline.chain.chain import why_no_stage
from pipeline.chain.stage_names import StageName
from pipeline.config import RunConfig
from pipeline.store.store import Facts, Store

logger = logging.getLogger("pipeline.outlook")

USUAL_SHARES: Mapping[StageName, float] = {
    "data": 0.2,
    "head-only": 4.9,
    "finetune": 30.0,
    "import": 0.5,
    "fuse": 30.0,
    "unlabelled": 0.2,
    "absorb": 18.9,
    "soft-targets": 1.2,
    "distill": 3.5,
    "export": 6.6,
    "quantize": 6.8,
    "evaluate": 12.4,
    "benchmark": 15.5,
}
"""Share of each stage in percent of a whole run, measured on the demo (572 s on two cores)."""
_LEAST_SHARE = 3.0
"""Usual share, in percent, that must be built before a pace is known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outlook:
    """Place of a stage in its run, and the time left; a record's attribute ``outlook``."""

    number: int
    """Number of the stage in its run, from 1."""
    stages: int
    """Number of the run's stages."""
    usual_percent: float
    """Usual share of the stage in the run's time, in percent."""
    percent: float
    """Usual share of all earlier stages in the run's time, in percent."""
    seconds_left: float | None
    """Time left with this stage, in seconds; None before a pace is known."""
    title: str = "run"
    """Title of the progress bar on a run's page."""

    def __str__(self) -> str:
        """Return the outlook as a line for a log."""
        if self.number > self.stages:
            return f"all {self.stages} stages are done"
        usual = f"{self.usual_percent:.0f} %" if self.usual_percent >= 1 else "under 1 %"
        line = f"stage {self.number} of {self.stages}, usually {usual} of a run"
        if self.seconds_left is None:
            return line
        return f"{line}; {say_left(self.seconds_left)}"


def say_left(seconds: float) -> str:
    """Return a time left in words, such as ``about 5 min left``."""
    minutes = round(seconds / 60)
    return f"about {f'{minutes} min' if minutes else 'a minute'} left"


def stages_of(config: RunConfig) -> tuple[StageName, ...]:
    """Return the stages of a config's chain, in order."""
    names: tuple[StageName, ...] = get_args(StageName)
    return tuple(name for name in names if why_no_stage(config, name) is None)


@contextmanager
def with_outlook(store: Store, stages: Sequence[StageName]) -> Iterator[Store]:
    """Yield a store that logs the outlook whenever it builds one of these stages.

    At the end of the block, it logs that all are done, unless all were reused.
    """
    watch = _Watch(store, stages)
    yield replace(store, builder=watch.build)
    if watch.has_built:
        watch.log(len(stages))


class _Watch:
    """Builder that measures the pace of a run."""

    def __init__(self, store: Store, stages: Sequence[StageName]) -> None:
        self._builder, self._stages = store.builder, list(stages)
        self._whole = sum(USUAL_SHARES[name] for name in stages)
        self._seconds = self._built = 0.0

    @property
    def has_built(self) -> bool:
        """Whether any stage was built."""
        return self._built > 0

    def build(self, name: str, build: Callable[[Path], Facts], folder: Path, /) -> Facts:
        """Return ``build(folder)``, after a log record of the outlook."""
        place = next((at for at, each in enumerate(self._stages) if each == name), None)
        if place is None:
            return self._builder(name, build, folder)
        self.log(place)
        started = time.monotonic()
        facts = self._builder(name, build, folder)
        self._seconds += time.monotonic() - started
        self._built += USUAL_SHARES[self._stages[place]]
        return facts

    def log(self, place: int) -> None:
        """Log the outlook before the stage at a place, from 0, or behind the last one."""
        shares = [USUAL_SHARES[name] for name in self._stages]
        left = sum(shares[place:])
        pace = self._seconds / self._built if self._built >= _LEAST_SHARE else None
        outlook = Outlook(
            number=place + 1,
            stages=len(shares),
            usual_percent=100 * sum(shares[place : place + 1]) / self._whole,
            percent=100 * sum(shares[:place]) / self._whole,
            seconds_left=None if pace is None else pace * left,
        )
        logger.info("%s", outlook, extra={"outlook": outlook})
