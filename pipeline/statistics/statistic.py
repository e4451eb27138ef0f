"""A statistic of a split, in two halves: the contribution of each text, and their summary.

A bootstrap computes a statistic thousands of times, over other texts each time. The first half
costs most, because it works on all outputs of every text (a softmax, a divergence). No text's
contribution depends on the others, so resamples need only the second half.

Shapes: N = texts, C = outputs per text.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from pipeline.facts.quality import Interval, Metrics

Contributions = Mapping[str, np.ndarray]
"""Named arrays with a row per text, (N, ...)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Statistic:
    """Named values of some texts, by their outputs and a reference such as labels.

    Both halves are functions of a module: a statistic travels to the process that builds.
    """

    contributions: Callable[[np.ndarray, np.ndarray], Contributions]
    """(outputs, reference) -> what each text contributes."""
    summarise: Callable[[Contributions], Metrics]
    """Contributions of some texts -> named values."""
    centred: Mapping[str, Interval] = field(default_factory=dict)
    """Range of each value whose interval is freed of the bootstrap's bias (bootstrap.py)."""

    def __call__(self, outputs: np.ndarray, reference: np.ndarray) -> Metrics:
        """Return the values over all texts."""
        return self.summarise(self.contributions(outputs, reference))
