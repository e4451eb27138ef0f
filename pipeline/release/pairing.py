"""Two registered students on the same test texts, by the logits that each run's evaluation wrote.

Students that were measured on other texts can't be paired.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.errors import InputError, refusing
from pipeline.release.registry import LOGITS, Registry, Version
from pipeline.statistics.paired import Paired, compare_paired
from pipeline.tasks.classification import SINGLE_LABEL


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """A candidate against a baseline."""

    baseline: int
    candidate: int
    paired: Paired | None
    """None where they were measured on different texts."""


def compare_versions(
    registry: Registry, baseline: Version, candidate: Version, *, confidence: float = 0.95
) -> Comparison:
    """Return what changed from one version to the other on their common test split."""
    return Comparison(
        baseline=baseline.number,
        candidate=candidate.number,
        paired=_pair(registry, baseline, candidate, confidence),
    )


def read_logits(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the student's logits, (N, C), and the labels, (N,), that an evaluation wrote."""
    with (
        refusing(f"Cannot read the logits in {path}", "Register the run again."),
        np.load(path, allow_pickle=False) as arrays,
    ):
        logits, labels = arrays["student"], arrays["labels"]
    is_sound = (
        logits.ndim == 2
        and labels.shape == (len(logits),)
        and len(labels) > 0
        and logits.dtype.kind == "f"
        and labels.dtype.kind in "iu"
        and bool(np.isfinite(logits).all())
        and bool(((labels >= 0) & (labels < logits.shape[1])).all())
    )
    if not is_sound:
        raise InputError(
            f"{path} does not hold a row of finite logits and the number of a class for each text: "
            f"found logits {logits.dtype} {logits.shape}, labels {labels.dtype} {labels.shape}. "
            "Register the run again."
        )
    return logits, labels


def _pair(
    registry: Registry, baseline: Version, candidate: Version, confidence: float
) -> Paired | None:
    if baseline.tags.get("data_digest") != candidate.tags.get("data_digest"):
        return None
    old, labels = _student_logits(registry, baseline)
    new, same_labels = _student_logits(registry, candidate)
    if not np.array_equal(labels, same_labels) or old.shape != new.shape:
        return None
    return compare_paired(old, new, labels, task=SINGLE_LABEL, confidence=confidence)


def _student_logits(registry: Registry, version: Version) -> tuple[np.ndarray, np.ndarray]:
    """Return (N, C) logits and (N,) labels of a version's test split."""
    with registry.download(version, LOGITS) as path:
        return read_logits(path)
