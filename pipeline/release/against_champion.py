"""A new student beside the champion, and new texts beside the old."""

from pathlib import Path

from pipeline.facts.paired import Paired
from pipeline.inference.classifier import load_bundle
from pipeline.release.challenge import ChallengeConfig
from pipeline.release.drift import MIN_TEXTS, Drift, measure_drift, new_texts
from pipeline.release.held_out import held_out_of_both, pair_models
from pipeline.release.registry import BUNDLE
from pipeline.texts.splits import SPLITS
from pipeline.texts.tables import read_split


def compare_with(champion: Path, challenger: Path, rule: ChallengeConfig) -> Paired | None:
    """Both students on the texts that are held out of both; None where there is none."""
    old, new = (load_bundle(run / BUNDLE) for run in (champion, challenger))
    held_out = held_out_of_both(champion / "data", challenger / "data", new.task)
    if not len(held_out):
        return None
    return pair_models(old, new, held_out, confidence=rule.confidence)


def find_drift(data: Path, champion: Path, rule: ChallengeConfig) -> tuple[Drift, ...]:
    """Return what changed in the texts since the champion; empty where too few of them are new."""
    before, now = (
        [read_split(folder, name) for name in SPLITS] for folder in (champion / "data", data)
    )
    fresh = new_texts(before, now)
    if len(fresh) < MIN_TEXTS:
        return ()
    student = load_bundle(champion / BUNDLE)
    shifts = student.task.shifts(
        before[0].labels,
        fresh.labels,
        student.readings(before[2].texts),
        student.readings(fresh.texts),
    )
    return measure_drift(before[0], fresh, shifts, level=rule.drift_level)
