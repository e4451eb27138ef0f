"""Several models on one split: quality and closeness, over shared resamples of its texts.

Shared resamples pair the models. The interval of a difference is far narrower than their own.

Shapes: N = texts, C = outputs per text.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from pipeline.facts.arms import Arm
from pipeline.facts.quality import Measured
from pipeline.statistics.bootstrap import Draws, Resamples, draw
from pipeline.statistics.statistic import Statistic
from pipeline.tasks.task import Task


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasuredModels:
    """Outputs of models on one split, with everything that measuring them takes."""

    task: Task
    outputs: Mapping[Arm, np.ndarray]
    """Outputs of each model, (N, C)."""
    labels: np.ndarray
    """Labels of the split, (N,)."""
    samples: Resamples
    """Resamples of the N texts, shared by all statistics."""
    confidence: float
    """Confidence level of the intervals."""
    _drawn: dict[tuple[Arm, ...], Draws] = field(default_factory=dict, init=False, repr=False)
    """Statistics that are drawn already, for differences to share."""

    def quality(self, model: Arm) -> Measured:
        """Return a model's metrics."""
        return self._quality(model).measured(self.confidence)

    def fidelity(self, model: Arm, teacher: Arm) -> Measured:
        """Return a model's closeness to another."""
        return self._fidelity(model, teacher).measured(self.confidence)

    def both(self, model: Arm, teacher: Arm) -> Measured:
        """Return a model's metrics and its closeness to another, in one record."""
        return _joined(self.quality(model), self.fidelity(model, teacher))

    def change(self, model: Arm, teacher: Arm) -> Measured:
        """Return a model's metrics minus another's."""
        return self._quality(model).minus(self._quality(teacher)).measured(self.confidence)

    def cost(self, model: Arm, reference: Arm, teacher: Arm) -> Measured:
        """Return a model's loss of main metric and agreement against a reference."""
        quality = self._quality(reference).minus(self._quality(model))
        fidelity = self._fidelity(reference, teacher).minus(self._fidelity(model, teacher))
        return _joined(
            quality.only(self.task.main_metric).measured(self.confidence),
            fidelity.only(self.task.agreement).measured(self.confidence),
        )

    def _quality(self, model: Arm) -> Draws:
        return self._draw((model,), self.task.metrics, self.labels)

    def _fidelity(self, model: Arm, teacher: Arm) -> Draws:
        return self._draw((model, teacher), self.task.fidelity, self.outputs[teacher])

    def _draw(self, key: tuple[Arm, ...], statistic: Statistic, reference: np.ndarray) -> Draws:
        """Return a statistic of the key's first model, drawn at most once."""
        if key not in self._drawn:
            title = f"resampling {key[0].replace('_', ' ')}"
            self._drawn[key] = draw(
                statistic, self.outputs[key[0]], reference, self.samples, title=title
            )
        return self._drawn[key]


def _joined(first: Measured, second: Measured) -> Measured:
    return Measured(
        values=first.values | second.values, intervals=first.intervals | second.intervals
    )
