"""What a variant of the student costs in quality, and whether that is too much.

Shapes: N = examples, C = classes.
"""

from dataclasses import dataclass

import numpy as np

from pipeline.config import QuantizeConfig
from pipeline.facts.quality import Measured
from pipeline.statistics.bootstrap import measure_statistic, resamples
from pipeline.tasks.task import Metrics, Task

_ROUNDING = 1e-9
"""A loss is a difference of two counts over the examples: 4 of 800 are not more than 0.005."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Quality:
    """One file, held against the fp32 student and the teacher."""

    cost: Measured
    """The main metric and the agreement with the teacher: the fp32 student's minus this file's,
    with paired intervals."""
    fidelity: Measured
    """Closeness to the teacher."""
    refused: str | None
    """Why it may not ship, in a sentence."""


def hold_against(
    logits: np.ndarray,
    student: np.ndarray,
    teacher: np.ndarray,
    labels: np.ndarray,
    config: QuantizeConfig,
    *,
    task: Task,
    seed: int,
) -> Quality:
    """Return what a file costs, and whether the config's limits refuse it.

    Args:
        logits: The file's, (N, C).
        student: The fp32 student's, (N, C).
        teacher: (N, C).
        labels: (N,).
    """
    samples = resamples(len(labels), config.bootstrap_samples, seed)
    metric = task.main_metric

    def quality(of: np.ndarray, rows: np.ndarray) -> Metrics:
        agreement = task.fidelity(of[rows], teacher[rows])["agreement"]
        return {metric: task.metrics(of[rows], labels[rows])[metric], "agreement": agreement}

    def cost(rows: np.ndarray) -> Metrics:
        before, after = quality(student, rows), quality(logits, rows)
        return {name: before[name] - after[name] for name in before}

    def fidelity(rows: np.ndarray) -> Metrics:
        return task.fidelity(logits[rows], teacher[rows])

    costs = measure_statistic(cost, samples, config.confidence)
    return Quality(
        cost=costs,
        fidelity=measure_statistic(fidelity, samples, config.confidence),
        refused=_reason(costs, config, metric),
    )


def _reason(costs: Measured, config: QuantizeConfig, metric: str) -> str | None:
    limits = {
        metric: ("max_metric_drop", config.max_metric_drop),
        "agreement": ("max_agreement_drop", config.max_agreement_drop),
    }
    reasons = []
    for name, (setting, limit) in limits.items():
        value, (low, high) = costs.values[name], costs.intervals[name]
        if value > limit + _ROUNDING:
            what = "agreement with the teacher" if name == "agreement" else name
            reasons.append(
                f"It loses {100 * value:.2f} points of {what} against the fp32 student "
                f"({100 * low:.2f} to {100 * high:.2f}); quantize.{setting} accepts "
                f"{100 * limit:.2f}."
            )
    return " ".join(reasons) or None
