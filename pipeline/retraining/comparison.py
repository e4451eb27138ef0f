"""A new student beside the champion, and new texts beside the old."""

from pathlib import Path

from pipeline.inference.classifier import load_bundle
from pipeline.retraining.challenge import (
    ChallengeConfig,
    held_out_of_both,
)
from pipeline.retraining.drift import MIN_TEXTS, Drift, measure_drift, new_texts
from pipeline.statistics.paired import Paired, compare_paired
from pipeline.tasks.classification import SINGLE_LABEL
from pipeline.texts.tables import read_split

SPLITS = ("train", "validation", "test")


def compare_with(champion: Path, challenger: Path, rule: ChallengeConfig) -> Paired | None:
    """Both students on the texts that are held out of both; None where there is none."""
    held_out = held_out_of_both(champion / "data", challenger / "data")
    if not len(held_out):
        return None
    champion_logits, challenger_logits = (
        load_bundle(run / "student").logits(held_out.texts) for run in (champion, challenger)
    )
    return compare_paired(
        champion_logits,
        challenger_logits,
        held_out.labels,
        task=SINGLE_LABEL,
        confidence=rule.confidence,
    )


def find_drift(data: Path, champion: Path, rule: ChallengeConfig) -> tuple[Drift, ...]:
    """What changed in the texts since the champion; empty where too few of them are new."""
    before, now = (
        [read_split(folder, name) for name in SPLITS] for folder in (champion / "data", data)
    )
    fresh = new_texts(before, now)
    if len(fresh) < MIN_TEXTS:
        return ()
    student = load_bundle(champion / "student")
    return measure_drift(
        before[0],
        fresh,
        classes=len(student.labels),
        logits_before=student.logits(before[2].texts),
        logits_now=student.logits(fresh.texts),
        level=rule.drift_level,
    )
