"""Classification: one of C classes for a text or a pair of texts.

The hard loss is cross-entropy, the soft loss T² KL (Hinton et al., 2015,
https://arxiv.org/abs/1503.02531, section 2). Functions import scipy where they use it. A server
needs the answers alone, and scipy costs 20 MB.

Shapes: N = texts, C = classes.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from pipeline.config import DataConfig, GateConfig
from pipeline.decisions.check import Check, make_check, note_wide
from pipeline.decisions.quality import (
    agreement,
    gained,
    least_quality,
    quality_lost,
    unsure_gain,
    worst_class,
)
from pipeline.facts.quality import EvaluateFacts
from pipeline.tasks.class_labels import propose_classes, read_class_labels
from pipeline.tasks.class_metrics import (
    CLASS_FIDELITY,
    CLASS_QUALITY,
    softmax_rows,
    wrong_labels,
)
from pipeline.tasks.task import ClassMembers, Labels, Shift, Task, Words
from pipeline.texts.cells import Label

if TYPE_CHECKING:
    from models.losses import Objective

_CONSTANT = "the commonest label for every text"
_LISTED = 5
"""Number of classes that a warning names."""


class ClassAnswer(BaseModel):
    """The answer to one text."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    label: str
    score: float
    """Probability of the label."""
    scores: dict[str, float]
    """Probability of every label."""


def class_answers(
    logits: np.ndarray, names: Sequence[str], _texts: Sequence[Any] = ()
) -> list[dict[str, Any]]:
    """Return each text's label, its score, and the scores of all labels."""
    answers = []
    for probabilities in softmax_rows(logits):
        scores = dict(zip(names, map(float, probabilities), strict=True))
        best = names[int(probabilities.argmax())]
        answers.append({"label": best, "score": scores[best], "scores": scores})
    return answers


def _members(
    teacher: np.ndarray, student: np.ndarray, labels: np.ndarray, names: Sequence[str]
) -> ClassMembers:
    classes = np.arange(len(names))
    chosen, by_student = (each.argmax(axis=1)[:, None] == classes for each in (teacher, student))
    return ClassMembers(
        names=names, teacher=chosen, student=by_student, labels=labels[:, None] == classes
    )


def _checks(evaluation: EvaluateFacts, config: GateConfig) -> tuple[Check, ...]:
    return (
        quality_lost(evaluation, config, "accuracy"),
        agreement(
            evaluation,
            config,
            "agreement",
            "The student agrees with the teacher on {} of the test texts",
        ),
        worst_class_lost(evaluation, config),
        calibration_lost(evaluation, config),
        *gained(evaluation, config, "accuracy", _CONSTANT),
        *least_quality(evaluation, config, "accuracy"),
    )


def worst_class_lost(evaluation: EvaluateFacts, config: GateConfig) -> Check:
    """Return the check of the class whose loss of recall is most certain."""
    worst = worst_class(evaluation.classes)
    low, high = worst.interval
    check = make_check(
        f"recall lost of the worst class, {worst.label}",
        worst.recall_lost,
        ("at most", config.max_class_drop),
        interval=worst.interval,
        evidence="not_refuted",
        reason=(
            f"In the class {worst.label} ({worst.texts:,} test texts), the teacher finds "
            f"{worst.teacher_recall:.1%} and the student {worst.student_recall:.1%}: "
            f"{100 * worst.recall_lost:.2f} points lost ({100 * low:.2f} to {100 * high:.2f}, all "
            f"classes together at {evaluation.confidence:.0%}). gate.max_class_drop refuses a loss "
            f"significantly above {100 * config.max_class_drop:.2f}."
        ),
    )
    return note_wide(check, "gate.max_class_drop", widest=1)


def calibration_lost(evaluation: EvaluateFacts, config: GateConfig) -> Check:
    """Return the rise of the expected calibration error against the teacher."""
    growth = evaluation.change.values["calibration_error"]
    low, high = evaluation.change.intervals["calibration_error"]
    check = make_check(
        "calibration error gained against the teacher",
        growth,
        ("at most", config.max_calibration_growth),
        interval=(low, high),
        evidence="not_refuted",
        reason=(
            f"The student's expected calibration error is {growth:+.4f} from the teacher's "
            f"({low:+.4f} to {high:+.4f}); gate.max_calibration_growth refuses a growth "
            f"significantly above {config.max_calibration_growth:.4f}."
        ),
    )
    return note_wide(check, "gate.max_calibration_growth", widest=1)


def uncertain_classes(evaluation: EvaluateFacts, config: GateConfig) -> tuple[str, ...]:
    """Return one warning of the classes that lost too much, on too few texts for significance.

    The worst class has a check of its own. It has the most certain loss, rarely the largest one.
    """
    worst = worst_class(evaluation.classes)
    beyond = [
        each
        for each in evaluation.classes
        if each is not worst and each.recall_lost > config.max_class_drop
    ]
    if not beyond:
        return ()
    largest = sorted(beyond, key=lambda each: -each.recall_lost)[:_LISTED]
    listed = ", ".join(
        f"{each.label} ({100 * each.recall_lost:.0f} points on {each.texts:,})" for each in largest
    )
    rest = len(beyond) - len(largest)
    return (
        f"Classes that lost more than {100 * config.max_class_drop:.2f} points of recall, on "
        f"too few texts for significance: {listed}{f' and {rest} more' if rest else ''}. "
        "Measure on more texts of these classes.",
    )


def _warnings(evaluation: EvaluateFacts, config: GateConfig) -> tuple[str, ...]:
    return (
        *unsure_gain(evaluation, "accuracy", _CONSTANT),
        *uncertain_classes(evaluation, config),
    )


def _names(config: DataConfig) -> tuple[str, ...]:
    return config.labels


def _commonest(labels: np.ndarray, readings: np.ndarray) -> np.ndarray:
    """Return logits of a model that is certain of the commonest label for every text, (N, C)."""
    outputs = np.zeros((len(labels), readings.shape[-1]), dtype=np.float32)
    outputs[:, np.bincount(labels).argmax()] = 10.0
    return outputs


def _strata(labels: Sequence[Label]) -> list[int]:
    return [int(label) for label in labels if not isinstance(label, tuple)]


def _check_labels(labels: Sequence[Label], names: Sequence[str]) -> str | None:
    if len(set(labels)) >= 2:
        return None
    return (
        f"holds one class only ({names[_strata(labels)[0]]!r}). At least two are needed: check "
        "data.label, data.filter and the source"
    )


def _count_labels(
    splits: Mapping[str, np.ndarray], names: Sequence[str]
) -> dict[str, dict[str, int]]:
    return {
        split: {name: int((labels == index).sum()) for index, name in enumerate(names)}
        for split, labels in splits.items()
    }


def _shifts(
    old: np.ndarray, new: np.ndarray, logits_old: np.ndarray, logits_new: np.ndarray
) -> list[Shift]:
    return [label_mix(old, new, logits_old.shape[1]), _confidence(logits_old, logits_new)]


def label_mix(old: np.ndarray, new: np.ndarray, classes: int) -> Shift:
    """Return the change of the commonest label's share of all class indices."""
    from scipy import stats

    before, now = (np.bincount(labels, minlength=classes) for labels in (old, new))
    top = int(before.argmax())
    table = np.array([before, now])[:, before + now > 0]
    return Shift(
        name="part of the commonest label",
        before=float(before[top] / before.sum()),
        now=float(now[top] / now.sum()),
        test="chi-squared",
        p_value=float(stats.chi2_contingency(table).pvalue) if table.shape[1] > 1 else 1.0,
    )


def _confidence(logits_old: np.ndarray, logits_new: np.ndarray) -> Shift:
    from pipeline.statistics.two_samples import two_samples

    before, now = (
        softmax_rows(logits.astype(np.float64)).max(axis=1) for logits in (logits_old, logits_new)
    )
    return Shift(name="confidence of the champion", **two_samples(before, now))


def _objective() -> "Objective":
    from models.losses import CLASSIFICATION_OBJECTIVE

    return CLASSIFICATION_OBJECTIVE


def _agrees(agreement: float) -> str:
    return f"agrees with the teacher on {agreement:.1%} of the texts"


CLASSIFICATION = Task(
    name="classification",
    labels=Labels(
        dtype=np.int64,
        names=_names,
        read=read_class_labels,
        check=_check_labels,
        strata=_strata,
        counts=_count_labels,
        propose=propose_classes,
    ),
    words=Words(
        loss="cross-entropy, nats",
        distance="KL to the teacher (nats)",
        agreement="agreement with the teacher",
        agrees=_agrees,
        constant=_CONSTANT,
        model="text classifier with the labels",
        intended_use="to sort texts like those of its test split (source below) into these labels.",
        limits=(
            "It always answers with one of its labels, also to texts that fit none.",
            "Its scores are not calibrated beyond what the table shows.",
        ),
        hub_task="text-classification",
        hub_metrics={"accuracy": "accuracy", "macro_f1": "f1"},
    ),
    objective=_objective,
    main_metric="accuracy",
    agreement="agreement",
    distance="mean_kl",
    metrics=CLASS_QUALITY,
    fidelity=CLASS_FIDELITY,
    errors=wrong_labels,
    constant=_commonest,
    members=_members,
    checks=_checks,
    warnings=_warnings,
    shifts=_shifts,
    answers=class_answers,
    answer_type=ClassAnswer,
    hub_head="classification",
)
"""One of C classes for a text or a pair of texts."""
