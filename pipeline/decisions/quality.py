"""Checks of what a student answers that every task makes: against its teacher, and the champion.

Losses and agreement are held by their values. A task's own checks (calibration, single classes) are
in its file. Promotion and retraining make the checks against another student, as only they know the
champion.
"""

from collections.abc import Iterator, Sequence
from typing import Literal

from pipeline.config import GateConfig
from pipeline.decisions.check import Check, make_check, note_wide
from pipeline.facts.arms import CONSTANT, PLAIN
from pipeline.facts.paired import Paired
from pipeline.facts.quality import ClassQuality, EvaluateFacts, Interval

_PLAIN = "the head alone"


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
        evidence: With ``not_refuted`` a significantly larger loss is refused. With ``proven`` a
            larger loss that cannot be ruled out is refused too.
    """
    change, (low, high) = paired.change.values[metric], paired.change.intervals[metric]
    discordant = paired.baseline_better + paired.candidate_better
    demand = "must be ruled out" if evidence == "proven" else "is refused when it is significant"
    return make_check(
        f"{_words(metric)} lost against the champion",
        -change,
        ("at most", max_loss),
        interval=(-high, -low),
        evidence=evidence,
        reason=(
            f"Its {_words(metric)} is {_points(change)} points from the champion's "
            f"({_points(low)} to {_points(high)}, {paired.confidence:.0%}) on {paired.texts:,} "
            f"texts. One of the two is better on {discordant:,} of them "
            f"(sign test p = {paired.p_value:.2g}). {setting}: a loss of more than "
            f"{100 * max_loss:.2f} points {demand}."
        ),
    )


def quality_lost(evaluation: EvaluateFacts, config: GateConfig, metric: str) -> Check:
    """Return the loss of the main metric against the teacher."""
    change, ends = evaluation.change.values[metric], evaluation.change.intervals[metric]
    check = make_check(
        f"{_words(metric)} lost against the teacher",
        -change,
        ("at most", config.max_metric_drop),
        interval=(-ends[1], -ends[0]),
        reason=(
            f"The student's {_words(metric)} is {_points(change)} points from the teacher's "
            f"({_points(ends[0])} to {_points(ends[1])}); gate.max_metric_drop accepts a loss of "
            f"{100 * config.max_metric_drop:.2f}."
        ),
    )
    return note_wide(check, "gate.max_metric_drop", widest=1)


def gained(
    evaluation: EvaluateFacts,
    config: GateConfig,
    metric: str,
    constant: str,
    plain: str = _PLAIN,
) -> Iterator[Check]:
    """Yield what the student gains against the best baseline that knows little of the task.

    Such baselines are the head alone, which costs as much as the student, and one answer for all.
    Facts of earlier versions have none.

    Args:
        evaluation: The measured facts.
        config: The thresholds.
        metric: The task's main metric.
        constant: The best constant answer, as a noun.
        plain: The other baseline, as a noun.
    """
    if not evaluation.gains:
        return
    baseline, gain, (low, high) = _least_gain(evaluation, metric, constant, plain)
    check = make_check(
        f"{_words(metric)} gained against {baseline}",
        gain,
        ("at least", config.min_gain),
        interval=(low, high),
        reason=(
            f"The student's {_words(metric)} is {_points(gain)} points from that of {baseline} "
            f"({_points(low)} to {_points(high)}); gate.min_gain requires "
            f"{100 * config.min_gain:.2f} more."
        ),
    )
    yield note_wide(check, "gate.min_gain", widest=-1)


def unsure_gain(
    evaluation: EvaluateFacts, metric: str, constant: str, plain: str = _PLAIN
) -> tuple[str, ...]:
    """Return a warning where the student may be no better than a baseline that knows little."""
    if not evaluation.gains:
        return ()
    baseline, gain, (low, high) = _least_gain(evaluation, metric, constant, plain)
    if low > 0:
        return ()
    return (
        f"The student is not significantly better than {baseline}: its {_words(metric)} is "
        f"{_points(gain)} points from that ({_points(low)} to {_points(high)}).",
    )


def _least_gain(
    evaluation: EvaluateFacts, metric: str, constant: str, plain: str
) -> tuple[str, float, Interval]:
    """Return the baseline that the student gains least against, as a noun, and that gain."""
    names = {PLAIN: plain, CONSTANT: constant}
    arm, least = min(evaluation.gains.items(), key=lambda each: each[1].values[metric])
    return names[arm], least.values[metric], least.intervals[metric]


def least_quality(evaluation: EvaluateFacts, config: GateConfig, metric: str) -> Iterator[Check]:
    """Yield the main metric itself, where the config asks for a least one."""
    if config.min_quality is None:
        return
    quality, ends = evaluation.student.values[metric], evaluation.student.intervals[metric]
    yield make_check(
        f"{_words(metric)} of the student",
        quality,
        ("at least", config.min_quality),
        interval=ends,
        reason=(
            f"The student's {_words(metric)} is {quality:.2%} ({ends[0]:.2%} to {ends[1]:.2%}); "
            f"gate.min_quality requires {config.min_quality:.2%}."
        ),
    )


def agreement(evaluation: EvaluateFacts, config: GateConfig, value: str, sentence: str) -> Check:
    """Return how far student and teacher agree.

    Args:
        value: Name of the fidelity value that says so, at most 1.
        sentence: What the value means; ``{}`` stands for it.
    """
    found = evaluation.fidelity.values[value]
    low, high = evaluation.fidelity.intervals[value]
    check = make_check(
        f"{_words(value)} with the teacher" if value == "agreement" else _words(value),
        found,
        ("at least", config.min_agreement),
        interval=(low, high),
        reason=(
            f"{sentence.format(f'{found:.2%}')} ({low:.2%} to {high:.2%}); gate.min_agreement "
            f"requires {config.min_agreement:.2%}."
        ),
    )
    return note_wide(check, "gate.min_agreement", widest=0)


def worst_class(classes: Sequence[ClassQuality]) -> ClassQuality:
    """Return the class whose loss of recall is the most certain: the highest low end.

    The largest loss itself would mostly be that of the rarest class.
    """
    return worst_first(classes)[0]


def worst_first(classes: Sequence[ClassQuality]) -> list[ClassQuality]:
    """Return the classes, that with the most certain loss of recall first."""
    return sorted(classes, key=lambda each: (each.interval[0], each.recall_lost), reverse=True)


def _words(metric: str) -> str:
    return metric.replace("_", " ")


def _points(change: float) -> str:
    return f"{100 * change:+.2f}"
