"""Several models on one split: quality and closeness, all over the same resamples of its texts.

Shared resamples make the interval of a difference a paired one, far narrower than the models' own.

Shapes: N = texts, C = outputs per text.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pipeline.facts.arms import Arm
from pipeline.facts.quality import Measured, Metrics
from pipeline.statistics.bootstrap import measure_statistic
from pipeline.tasks.task import Task


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasuredModels:
    """Outputs of models on one split, and how they are measured."""

    task: Task
    outputs: Mapping[Arm, np.ndarray]
    """(N, C) by model."""
    labels: np.ndarray
    """(N,)."""
    samples: np.ndarray
    """Resamples of the rows, as `resamples` draws them."""
    confidence: float
    """Level of the intervals."""

    def quality(self, model: Arm) -> Measured:
        """Return a model's metrics."""

        def statistic(rows: np.ndarray) -> Metrics:
            return self.task.metrics(self.outputs[model][rows], self.labels[rows])

        return measure_statistic(statistic, self.samples, self.confidence)

    def fidelity(self, model: Arm, teacher: Arm) -> Measured:
        """Return a model's closeness to another."""

        def statistic(rows: np.ndarray) -> Metrics:
            return self.task.fidelity(self.outputs[model][rows], self.outputs[teacher][rows])

        return measure_statistic(statistic, self.samples, self.confidence)

    def both(self, model: Arm, teacher: Arm) -> Measured:
        """Return a model's metrics and its closeness to another, in one record."""
        quality, fidelity = self.quality(model), self.fidelity(model, teacher)
        return Measured(
            values=quality.values | fidelity.values,
            intervals=quality.intervals | fidelity.intervals,
        )

    def change(self, model: Arm, teacher: Arm) -> Measured:
        """Return a model's metrics minus another's."""

        def statistic(rows: np.ndarray) -> Metrics:
            own, other = (
                self.task.metrics(self.outputs[name][rows], self.labels[rows])
                for name in (model, teacher)
            )
            return {name: own[name] - other[name] for name in own}

        return measure_statistic(statistic, self.samples, self.confidence)

    def cost(self, model: Arm, reference: Arm, teacher: Arm) -> Measured:
        """Return what a model loses against a reference: main metric, agreement with a teacher."""
        task = self.task

        def numbers(name: Arm, rows: np.ndarray) -> Metrics:
            outputs = self.outputs[name][rows]
            return {
                task.main_metric: task.metrics(outputs, self.labels[rows])[task.main_metric],
                task.agreement: task.fidelity(outputs, self.outputs[teacher][rows])[task.agreement],
            }

        def statistic(rows: np.ndarray) -> Metrics:
            before, after = numbers(reference, rows), numbers(model, rows)
            return {name: before[name] - after[name] for name in before}

        return measure_statistic(statistic, self.samples, self.confidence)
