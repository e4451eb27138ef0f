"""Multi-label classification: any number of C labels for a text or a pair of texts.

Each label is a yes or no of its own. The hard loss is binary cross-entropy. The soft loss is T²
times the KL of Bernoulli variables. A label applies where its probability reaches its threshold.
The teacher's outputs on the validation split choose the thresholds, which ship with the student.

Shapes: N = texts, C = labels; readings are (N, 2, C), see set_metrics.py.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from pipeline.config import GateConfig
from pipeline.decisions.check import Check
from pipeline.decisions.quality import (
    agreement,
    gained,
    least_quality,
    quality_lost,
    unsure_gain,
)
from pipeline.facts.quality import EvaluateFacts
from pipeline.tasks.classification import (
    calibration_lost,
    label_mix,
    uncertain_classes,
    worst_class_lost,
)
from pipeline.tasks.label_sets import propose_sets, read_label_sets, set_names
from pipeline.tasks.set_metrics import (
    SET_FIDELITY,
    SET_QUALITY,
    attach_thresholds,
    choose_thresholds,
    chosen_labels,
    label_probabilities,
    wrong_parts,
)
from pipeline.tasks.task import ClassMembers, Labels, Shift, Task, Thresholds, Words
from pipeline.texts.cells import Label
from pipeline.texts.nested import spell_lists

if TYPE_CHECKING:
    from models.losses import Objective


_CONSTANT = "the commonest labels for every text"


class LabelSetAnswer(BaseModel):
    """The answer to one text."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    labels: list[str]
    """Labels whose probability reaches their threshold, the most probable first."""
    scores: dict[str, float]
    """Probability of every label."""


def label_set_answers(
    readings: np.ndarray, names: Sequence[str], _texts: Sequence[Any] = ()
) -> list[dict[str, Any]]:
    """Return each text's labels, and the scores of all labels."""
    answers = []
    rows = zip(label_probabilities(readings), chosen_labels(readings), strict=True)
    for probabilities, chosen in rows:
        order = np.argsort(-probabilities, kind="stable")
        answers.append(
            {
                "labels": [names[index] for index in order if chosen[index]],
                "scores": dict(zip(names, map(float, probabilities), strict=True)),
            }
        )
    return answers


def _members(
    teacher: np.ndarray, student: np.ndarray, labels: np.ndarray, names: Sequence[str]
) -> ClassMembers:
    chosen, by_student = (chosen_labels(each) for each in (teacher, student))
    return ClassMembers(names=names, teacher=chosen, student=by_student, labels=labels == 1)


def _checks(evaluation: EvaluateFacts, config: GateConfig) -> tuple[Check, ...]:
    return (
        quality_lost(evaluation, config, "micro_f1"),
        agreement(
            evaluation,
            config,
            "label_agreement",
            "The student agrees with the teacher on {} of the labels of all test texts",
        ),
        worst_class_lost(evaluation, config),
        calibration_lost(evaluation, config),
        *gained(evaluation, config, "micro_f1", _CONSTANT),
        *least_quality(evaluation, config, "micro_f1"),
    )


def _warnings(evaluation: EvaluateFacts, config: GateConfig) -> tuple[str, ...]:
    return (
        *unsure_gain(evaluation, "micro_f1", _CONSTANT),
        *uncertain_classes(evaluation, config),
    )


def _commonest(labels: np.ndarray, readings: np.ndarray) -> np.ndarray:
    """Return logits of a model that is certain of the commonest labels for every text, (N, C).

    Their number is the one with the highest F1 over all labels.
    """
    frequency, count = labels.sum(axis=0), readings.shape[-1]  # (C,)
    order = np.argsort(-frequency, kind="stable")
    hits, chosen = np.cumsum(frequency[order]), len(labels) * np.arange(1, count + 1)
    best = int((2 * hits / (chosen + frequency.sum())).argmax()) + 1
    outputs = np.full((len(labels), count), -10.0, dtype=np.float32)
    outputs[:, order[:best]] = 10.0
    return outputs


def _strata(labels: Sequence[Label]) -> list[int]:
    """Return the rarest label of each text; texts without labels share a group."""
    sets = np.array(labels)  # (N, C)
    frequency = np.where(sets == 1, sets.sum(axis=0), np.inf)
    return [int(group) for group in np.where(sets.any(axis=1), frequency.argmin(axis=1), -1)]


def _check_labels(labels: Sequence[Label], _names: Sequence[str]) -> str | None:
    if len(set(labels)) >= 2:
        return None
    return (
        "gives all texts the same labels. Texts that differ are needed: check data.label, "
        "data.filter and the source"
    )


def _count_labels(
    splits: Mapping[str, np.ndarray], names: Sequence[str]
) -> dict[str, dict[str, int]]:
    return {
        split: dict(zip(names, map(int, labels.sum(axis=0)), strict=True))
        for split, labels in splits.items()
    }


def _shifts(
    old: np.ndarray, new: np.ndarray, readings_old: np.ndarray, readings_new: np.ndarray
) -> list[Shift]:
    from pipeline.statistics.two_samples import two_samples

    answered = (chosen_labels(each).sum(axis=1) for each in (readings_old, readings_new))
    return [
        label_mix(np.nonzero(old)[1], np.nonzero(new)[1], old.shape[1]),
        Shift(name="labels per text", **two_samples(old.sum(axis=1), new.sum(axis=1))),
        Shift(name="labels that the champion finds per text", **two_samples(*answered)),
    ]


def _objective() -> "Objective":
    from models.losses import MULTI_LABEL_OBJECTIVE

    return MULTI_LABEL_OBJECTIVE


def _agrees(agreement: float) -> str:
    return f"agrees with the teacher on {agreement:.1%} of the labels of all texts"


MULTI_LABEL = Task(
    name="multi-label",
    labels=Labels(
        dtype=np.int64,
        names=set_names,
        read=read_label_sets,
        check=_check_labels,
        strata=_strata,
        counts=_count_labels,
        propose=propose_sets,
        spell=spell_lists,
        per_output=True,
    ),
    words=Words(
        loss="binary cross-entropy per label, nats",
        distance="KL to the teacher per label (nats)",
        agreement="labels on which both agree",
        agrees=_agrees,
        constant=_CONSTANT,
        model="multi-label text classifier with the labels",
        intended_use="to find all of these labels that apply to texts like those of its test split "
        "(source below).",
        limits=(
            "Its thresholds (thresholds.json) were chosen on its validation split; other texts may "
            "need others.",
            "Its scores are not calibrated beyond what the table shows.",
        ),
        hub_task="text-classification",
        hub_metrics={"micro_f1": "f1", "macro_f1": "f1"},
        hub_call='"a text", top_k=None',
    ),
    objective=_objective,
    main_metric="micro_f1",
    agreement="label_agreement",
    distance="mean_kl",
    metrics=SET_QUALITY,
    fidelity=SET_FIDELITY,
    errors=wrong_parts,
    constant=_commonest,
    members=_members,
    checks=_checks,
    warnings=_warnings,
    shifts=_shifts,
    answers=label_set_answers,
    answer_type=LabelSetAnswer,
    problem_type="multi_label_classification",
    hub_head="multilabel_classification",
    thresholds=Thresholds(choose=choose_thresholds, attach=attach_thresholds),
)
"""Any number of C labels for a text or a pair of texts."""
