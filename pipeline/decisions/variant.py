"""Cost of a variant of the student in quality, and whether it is too high."""

from dataclasses import dataclass

from pipeline.config import QuantizeConfig
from pipeline.facts.quality import Measured

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


def judge_variant(
    costs: Measured, fidelity: Measured, config: QuantizeConfig, *, metric: str, agreement: str
) -> Quality:
    """Hold what a file costs against the config's limits.

    Args:
        costs: The fp32 student's main metric and agreement, minus this file's.
        fidelity: Closeness to the teacher.
        metric: Name of the main metric.
        agreement: Name of the agreement.
    """
    limits = {
        metric: ("max_metric_drop", config.max_metric_drop),
        agreement: ("max_agreement_drop", config.max_agreement_drop),
    }
    reasons = []
    for name, (setting, limit) in limits.items():
        value, (low, high) = costs.values[name], costs.intervals[name]
        if value > limit + _ROUNDING:
            what = "agreement with the teacher" if name == agreement else name
            reasons.append(
                f"It loses {100 * value:.2f} points of {what} against the fp32 student "
                f"({100 * low:.2f} to {100 * high:.2f}); quantize.{setting} accepts "
                f"{100 * limit:.2f}."
            )
    return Quality(cost=costs, fidelity=fidelity, refused=" ".join(reasons) or None)
