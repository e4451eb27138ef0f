"""The gate's checks of what a student answers: against its teacher, and against the champion.

Losses and agreement are held by their values. Calibration and single classes are noisy, and refuse
only on evidence: when the whole interval is beyond the limit. What needs another student is made by
promotion and retraining, as only they know who the champion is.
"""

from collections.abc import Iterator
from typing import Literal

from pipeline.config import GateConfig
from pipeline.decisions.check import Check, make_check
from pipeline.facts.quality import EvaluateFacts
from pipeline.statistics.class_quality import worst_class
from pipeline.statistics.paired import Paired


def against_champion(
    paired: Paired,
    *,
    metric: str,
    max_loss: float,
    setting: str,
    evidence: Literal["not_refuted", "proven"],
) -> Check:
    """Return the check of a student against the champion, on the same texts.

    Args:
        paired: The champion is its baseline.
        metric: What is compared.
        max_loss: Accepted loss (0.01 is one point).
        setting: Name of the setting that says so.
        evidence: ``not_refuted``: refused where it is surely worse by more; ``proven``: refused
            where that cannot be ruled out.
    """
    change, (low, high) = paired.change.values[metric], paired.change.intervals[metric]
    told = paired.only_baseline_right + paired.only_candidate_right
    demand = "must be ruled out" if evidence == "proven" else "is refused when it is sure"
    return make_check(
        f"{_words(metric)} lost against the champion",
        -change,
        "at most",
        max_loss,
        interval=(-high, -low),
        evidence=evidence,
        reason=(
            f"Its {_words(metric)} is {_points(change)} points from the champion's "
            f"({_points(low)} to {_points(high)}, {paired.confidence:.0%}) on {paired.texts:,} "
            f"texts, of which {told:,} tell the two apart (McNemar p = {paired.p_value:.2g}); "
            f"{setting}: a loss of more than {100 * max_loss:.2f} points {demand}."
        ),
    )


def quality_lost(evaluation: EvaluateFacts, config: GateConfig, metric: str) -> Check:
    """Return the loss of the main metric against the teacher."""
    change, ends = evaluation.change.values[metric], evaluation.change.intervals[metric]
    return make_check(
        f"{_words(metric)} lost against the teacher",
        -change,
        "at most",
        config.max_accuracy_drop,
        interval=(-ends[1], -ends[0]),
        reason=(
            f"The student's {_words(metric)} is {_points(change)} points from the teacher's "
            f"({_points(ends[0])} to {_points(ends[1])}); gate.max_accuracy_drop accepts a loss of "
            f"{100 * config.max_accuracy_drop:.2f}."
        ),
    )


def least_quality(evaluation: EvaluateFacts, config: GateConfig, metric: str) -> Iterator[Check]:
    """Yield the main metric itself, where the config asks for a least one."""
    if config.min_quality is None:
        return
    quality, ends = evaluation.student.values[metric], evaluation.student.intervals[metric]
    yield make_check(
        f"{_words(metric)} of the student",
        quality,
        "at least",
        config.min_quality,
        interval=ends,
        reason=(
            f"The student's {_words(metric)} is {quality:.2%} ({ends[0]:.2%} to {ends[1]:.2%}); "
            f"gate.min_quality asks for {config.min_quality:.2%}."
        ),
    )


def agreement(evaluation: EvaluateFacts, config: GateConfig) -> Check:
    """Return how often student and teacher give the same label."""
    agreement = evaluation.fidelity.values["agreement"]
    low, high = evaluation.fidelity.intervals["agreement"]
    return make_check(
        "agreement with the teacher",
        agreement,
        "at least",
        config.min_agreement,
        interval=(low, high),
        reason=(
            f"The student agrees with the teacher on {agreement:.2%} of the test texts ({low:.2%} "
            f"to {high:.2%}); gate.min_agreement asks for {config.min_agreement:.2%}."
        ),
    )


def worst_class_lost(evaluation: EvaluateFacts, config: GateConfig) -> Check:
    """Return the surest loss of recall of any class."""
    worst = worst_class(evaluation.classes)
    low, high = worst.interval
    return make_check(
        f"recall lost of the worst class, {worst.label}",
        worst.recall_lost,
        "at most",
        config.max_class_drop,
        interval=worst.interval,
        evidence="not_refuted",
        reason=(
            f"Of the class {worst.label} ({worst.texts:,} test texts) the teacher finds "
            f"{worst.teacher_recall:.1%} and the student {worst.student_recall:.1%}: "
            f"{100 * worst.recall_lost:.2f} points lost ({100 * low:.2f} to {100 * high:.2f}, all "
            f"classes together at {evaluation.confidence:.0%}); gate.max_class_drop refuses what "
            f"is surely more than {100 * config.max_class_drop:.2f}."
        ),
    )


def calibration_lost(evaluation: EvaluateFacts, config: GateConfig) -> Check:
    """Return what the expected calibration error gained against the teacher."""
    growth = evaluation.change.values["calibration_error"]
    low, high = evaluation.change.intervals["calibration_error"]
    return make_check(
        "calibration error gained against the teacher",
        growth,
        "at most",
        config.max_calibration_growth,
        interval=(low, high),
        evidence="not_refuted",
        reason=(
            f"The student's expected calibration error is {growth:+.4f} from the teacher's "
            f"({low:+.4f} to {high:+.4f}); gate.max_calibration_growth refuses what is surely more "
            f"than {config.max_calibration_growth:.4f}."
        ),
    )


def _words(metric: str) -> str:
    return metric.replace("_", " ")


def _points(change: float) -> str:
    return f"{100 * change:+.2f}"
