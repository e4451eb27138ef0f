"""Regression: one number for a text or a pair of texts, in the label's own unit.

The head trains on standardised labels. Its last dense layer undoes the scale exactly, so that every
saved model answers in the label's unit (models/units.py). The hard loss is the squared error. The
soft loss is the squared distance to the teacher's number. Agreement of student and teacher is
Pearson's correlation of their numbers.

Shapes: N = texts; outputs are (N, 1).
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from pipeline.config import DataConfig, GateConfig
from pipeline.decisions.check import Check, make_check
from pipeline.decisions.quality import agreement, gained, least_quality, quality_lost, unsure_gain
from pipeline.facts.quality import EvaluateFacts, Metrics
from pipeline.statistics.statistic import Contributions, Statistic
from pipeline.tasks.number_labels import propose_number, read_numbers
from pipeline.tasks.task import Labels, Shift, Task, Words
from pipeline.texts.cells import Label

if TYPE_CHECKING:
    from models.losses import Objective

_CONSTANT = "the mean for every text"
_RANGES = 5
"""Number of ranges of labels by which splits are drawn and counted."""


class NumberAnswer(BaseModel):
    """The answer to one text."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    value: float
    """The number, in the label's unit."""


def _quality_by_text(outputs: np.ndarray, labels: np.ndarray) -> Contributions:
    """Return each text's number and label, and the place of each among all of its kind, (N,).

    Equal numbers share a place, so that resamples are ranked without being sorted.
    """
    found = outputs[:, 0].astype(np.float64)
    return {"number": found, "label": labels, "place": _places(found), "wanted": _places(labels)}


def _summarise_quality(texts: Contributions) -> Metrics:
    """Return Pearson's and Spearman's correlation, and the root of the mean squared error.

    A correlation with a constant is 0.
    """
    return {
        "pearson": _correlation(texts["number"], texts["label"]),
        "spearman": _correlation(_ranks(texts["place"]), _ranks(texts["wanted"])),
        "rmse": _rmse(texts["number"], texts["label"]),
    }


def _fidelity_by_text(student: np.ndarray, teacher: np.ndarray) -> Contributions:
    """Return the number of each text by both models, (N,)."""
    return {
        "student": student[:, 0].astype(np.float64),
        "teacher": teacher[:, 0].astype(np.float64),
    }


def _summarise_fidelity(texts: Contributions) -> Metrics:
    """Return correlation, RMSE and largest gap between student and teacher."""
    own, other = texts["student"], texts["teacher"]
    return {
        "teacher_correlation": _correlation(own, other),
        "teacher_rmse": _rmse(own, other),
        "largest_gap": float(np.abs(own - other).max()),
    }


NUMBER_QUALITY = Statistic(contributions=_quality_by_text, summarise=_summarise_quality)
"""Metrics of (outputs, labels)."""
NUMBER_FIDELITY = Statistic(contributions=_fidelity_by_text, summarise=_summarise_fidelity)
"""Closeness of (student's outputs, teacher's outputs)."""


def absolute_errors(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the distance of each number from its label, (N,)."""
    errors: np.ndarray = np.abs(outputs[:, 0].astype(np.float64) - labels)
    return errors


def number_answers(
    outputs: np.ndarray, _names: Sequence[str], _texts: Sequence[Any] = ()
) -> list[dict[str, Any]]:
    """Return each text's number."""
    return [{"value": float(value)} for value in outputs[:, 0]]


def rmse_grown(evaluation: EvaluateFacts, config: GateConfig) -> Check:
    """Return the rise of the RMSE from teacher to student, relative to the teacher's."""
    teacher = evaluation.teacher.values["rmse"]
    scale = 1 / teacher if teacher else math.inf
    growth = evaluation.change.values["rmse"]
    low, high = evaluation.change.intervals["rmse"]
    return make_check(
        "RMSE gained against the teacher",
        growth * scale if growth else 0.0,
        ("at most", config.max_rmse_growth),
        interval=(low * scale if low else 0.0, high * scale if high else 0.0),
        reason=(
            f"The student's RMSE is {teacher + growth:.4f}, the teacher's {teacher:.4f} "
            f"(difference {low:+.4f} to {high:+.4f}); gate.max_rmse_growth accepts "
            f"{config.max_rmse_growth:.2%} more."
        ),
    )


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    one, other = first - first.mean(), second - second.mean()
    scale = math.sqrt(float(one @ one) * float(other @ other))
    return float(one @ other) / scale if scale > 0 else 0.0


def _places(values: np.ndarray) -> np.ndarray:
    """Return the number of smaller values for each value, ties counted once."""
    places: np.ndarray = np.unique(values, return_inverse=True)[1]
    return places


def _ranks(places: np.ndarray) -> np.ndarray:
    """Return the ranks of values from their places, ties at their mean rank."""
    counts = np.bincount(places)
    ends = np.cumsum(counts)
    ranks: np.ndarray = (ends - (counts - 1) / 2)[places]
    return ranks


def _rmse(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.sqrt(np.square(first - second).mean()))


def _checks(evaluation: EvaluateFacts, config: GateConfig) -> tuple[Check, ...]:
    return (
        quality_lost(evaluation, config, "pearson"),
        agreement(
            evaluation,
            config,
            "teacher_correlation",
            "The student's numbers correlate with the teacher's at {}",
        ),
        rmse_grown(evaluation, config),
        *gained(evaluation, config, "pearson", _CONSTANT),
        *least_quality(evaluation, config, "pearson"),
    )


def _names(config: DataConfig) -> tuple[str, ...]:
    return config.label_columns


def _check_labels(labels: Sequence[Label], _names: Sequence[str]) -> str | None:
    if len(set(labels)) >= 2:
        return None
    return f"holds one label only ({labels[0]}). Numbers that differ are needed: check data.label"


def _mean(labels: np.ndarray, readings: np.ndarray) -> np.ndarray:
    """Return the mean label for every text, (N, 1)."""
    return np.full(readings.shape, labels.mean())


def _strata(labels: Sequence[Label]) -> list[int]:
    """Return the fifth of all labels that each label belongs to."""
    edges = np.quantile(labels, np.arange(1, _RANGES) / _RANGES)
    return [int(group) for group in np.digitize(labels, edges)]


def _count_labels(
    splits: Mapping[str, np.ndarray], _names: Sequence[str]
) -> dict[str, dict[str, int]]:
    everything = np.concatenate(list(splits.values()))
    edges = np.linspace(everything.min(), everything.max(), _RANGES + 1)
    names = [f"{low} to {high}" for low, high in pairwise(_spelled(edges))]
    return {
        split: dict(zip(names, map(int, np.histogram(labels, bins=edges)[0]), strict=True))
        for split, labels in splits.items()
    }


def _spelled(edges: np.ndarray) -> list[str]:
    """Return numbers with enough digits to differ, at least six."""
    for digits in range(6, 17):
        spelled = [f"{edge:.{digits}g}" for edge in edges]
        if len(set(spelled)) == len(edges):
            return spelled
    return [repr(float(edge)) for edge in edges]


def _shifts(
    old: np.ndarray, new: np.ndarray, outputs_old: np.ndarray, outputs_new: np.ndarray
) -> list[Shift]:
    from pipeline.statistics.two_samples import two_samples

    return [
        Shift(name="label", **two_samples(old, new)),
        Shift(name="answer of the champion", **two_samples(outputs_old[:, 0], outputs_new[:, 0])),
    ]


def _objective() -> "Objective":
    from models.losses import REGRESSION_OBJECTIVE

    return REGRESSION_OBJECTIVE


def _agrees(correlation: float) -> str:
    return f"correlates with the teacher at {correlation:.1%}"


def _warnings(evaluation: EvaluateFacts, _config: GateConfig) -> tuple[str, ...]:
    return unsure_gain(evaluation, "pearson", _CONSTANT)


REGRESSION = Task(
    name="regression",
    labels=Labels(
        dtype=np.float64,
        names=_names,
        read=read_numbers,
        check=_check_labels,
        strata=_strata,
        counts=_count_labels,
        propose=propose_number,
    ),
    words=Words(
        loss="squared error, standardised",
        distance="RMSE to the teacher",
        agreement="correlation with the teacher",
        agrees=_agrees,
        constant=_CONSTANT,
        model="text regression model for the number",
        intended_use="to rate texts like those of its test split (source below) by this number.",
        limits=(
            "It always answers with a number, also to texts that cannot be rated.",
            "Its numbers may lie outside the range of the training labels.",
        ),
        hub_task="text-classification",
        hub_metrics={"pearson": "pearsonr", "spearman": "spearmanr"},
    ),
    objective=_objective,
    main_metric="pearson",
    agreement="teacher_correlation",
    distance="teacher_rmse",
    metrics=NUMBER_QUALITY,
    fidelity=NUMBER_FIDELITY,
    errors=absolute_errors,
    constant=_mean,
    members=None,
    checks=_checks,
    warnings=_warnings,
    shifts=_shifts,
    answers=number_answers,
    answer_type=NumberAnswer,
    problem_type="regression",
    hub_head="classification",
)
"""One number for a text or a pair of texts."""
