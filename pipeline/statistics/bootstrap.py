"""Intervals of any statistic of a test split: percentile bootstraps over its texts.

Efron & Tibshirani, 1993, An Introduction to the Bootstrap, section 13.3.

Some statistics are biased, because a resample has fewer different texts per class than the split.
Its macro-F1 is lower on average, and its calibration error higher. Plain percentiles would miss the
measured value. The interval is therefore moved by the bootstrap's own estimate of the bias (section
10.2). It is then the interval of the value that another test split of this size gives.
Bias-corrected percentiles (section 14.3) and the basic interval are left out. They aim at a split
of infinite size, move twice as far, and can miss the measured value. `benchmarks/evaluate_costs.py`
measures how often centred, plain and basic intervals hold.

Shapes: N = texts, R = resamples.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from tqdm.auto import tqdm

from pipeline.facts.quality import Interval, Measured, Metrics
from pipeline.statistics.statistic import Statistic
from pipeline.workers.bars import hides_bars

_SECONDS_WITHOUT_BAR = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Resamples:
    """Rows drawn with replacement from a split, the same ones at each pass.

    They are drawn when they are needed: for 100,000 texts, 1,000 resamples would fill 800 MB.
    """

    texts: int
    """N."""
    count: int
    """R."""
    seed: int

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield the rows of each resample, (N,)."""
        generator = np.random.default_rng(self.seed)
        for _ in range(self.count):
            yield generator.integers(self.texts, size=self.texts)


@dataclass(frozen=True, kw_only=True, slots=True)
class Draws:
    """A statistic over a whole split, and over every resample of it."""

    values: Metrics
    draws: Mapping[str, np.ndarray]
    """(R,) by name."""
    centred: Mapping[str, Interval]
    """As `Statistic.centred`."""

    def minus(self, other: "Draws") -> "Draws":
        """Return the difference to another statistic of the same resamples, which is paired."""
        return Draws(
            values={name: value - other.values[name] for name, value in self.values.items()},
            draws={name: draws - other.draws[name] for name, draws in self.draws.items()},
            centred={name: (low - high, high - low) for name, (low, high) in self.centred.items()},
        )

    def only(self, name: str) -> "Draws":
        """Return one of the values."""
        centred = {name: self.centred[name]} if name in self.centred else {}
        return Draws(
            values={name: self.values[name]}, draws={name: self.draws[name]}, centred=centred
        )

    def measured(self, confidence: float) -> Measured:
        """Return the values with their intervals at a level."""
        tail = 50 * (1 - confidence)
        intervals = {}
        for name, draws in self.draws.items():
            low, high = np.percentile(draws, [tail, 100 - tail])
            if name in self.centred:
                least, most = self.centred[name]
                bias = draws.mean() - self.values[name]
                low, high = np.clip([low - bias, high - bias], least, most)
            intervals[name] = (float(low), float(high))
        return Measured(values=dict(self.values), intervals=intervals)


def draw(
    statistic: Statistic,
    outputs: np.ndarray,
    reference: np.ndarray,
    samples: Resamples,
    *,
    title: str = "resampling",
) -> Draws:
    """Return a statistic over all texts and over each resample; a bar shows what takes long.

    Args:
        statistic: Of (outputs, reference).
        outputs: (N, C).
        reference: (N, ...), what the outputs are held against.
        samples: Of the N texts.
        title: Of the bar.
    """
    parts = statistic.contributions(outputs, reference)
    values = statistic.summarise(parts)
    draws = {name: np.empty(samples.count) for name in values}
    with tqdm(
        samples,
        total=samples.count,
        desc=title,
        unit="resample",
        leave=False,
        delay=_SECONDS_WITHOUT_BAR,
        disable=hides_bars(),
    ) as bar:
        for number, rows in enumerate(bar):
            found = statistic.summarise({name: part[rows] for name, part in parts.items()})
            for name, value in found.items():
                draws[name][number] = value
    return Draws(values=values, draws=draws, centred=statistic.centred)
