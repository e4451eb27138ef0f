"""Two registered students on the same test texts, by the outputs that each run's evaluation wrote.

Students that were measured on different texts answer texts that were held out of both.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.config import PromotionRule
from pipeline.errors import InputError, refusing
from pipeline.facts.arms import STUDENT
from pipeline.facts.paired import Paired
from pipeline.release.held_out import pair_on_held_out
from pipeline.release.registry import REGISTERED_OUTPUTS, Registry, Version
from pipeline.statistics.paired import compare_paired
from pipeline.tasks.all_tasks import find_task


@dataclass(frozen=True, kw_only=True, slots=True)
class VersionComparison:
    """A candidate against a baseline."""

    baseline: int
    candidate: int
    paired: Paired | None
    """None where no texts were found for both."""
    why_not: str = ""
    """Cause of a missing comparison, as a clause."""


def compare_versions(
    registry: Registry,
    baseline: Version,
    candidate: Version,
    *,
    confidence: float = 0.95,
    min_texts: int = PromotionRule().min_champion_texts,
) -> VersionComparison:
    """Return what changed from one version to the other, on texts of both.

    Args:
        registry: Where both are.
        baseline: The version to compare with.
        candidate: The other version.
        confidence: Level of the intervals, between 0 and 1.
        min_texts: Least number of texts held out of both, where their test splits differ.
    """
    found: Paired | str | None = _pair(registry, baseline, candidate, confidence)
    if found is None:
        found = pair_on_held_out(
            registry, baseline, candidate, confidence=confidence, min_texts=min_texts
        )
    return VersionComparison(
        baseline=baseline.number,
        candidate=candidate.number,
        paired=None if isinstance(found, str) else found,
        why_not=found if isinstance(found, str) else "",
    )


def read_outputs(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the student's readings and the labels, a row per text, that an evaluation wrote."""
    with (
        refusing(f"Cannot read the outputs in {path}", "Register the run again."),
        np.load(path, allow_pickle=False) as arrays,
    ):
        outputs, labels = arrays[STUDENT], arrays["labels"]
    is_sound = (
        outputs.ndim in (2, 3)
        and labels.ndim in (1, 2)
        and len(labels) == len(outputs)
        and len(labels) > 0
        and outputs.dtype.kind == "f"
        and labels.dtype.kind in "iuf"
        and bool((np.isfinite(outputs) | (np.isnan(outputs) & (outputs.ndim == 3))).all())
        and bool(np.isfinite(labels).all())
    )
    if not is_sound:
        raise InputError(
            f"{path} does not hold a row of finite outputs and a label for each text. Found "
            f"outputs {outputs.dtype} {outputs.shape}, labels {labels.dtype} {labels.shape}. "
            "Register the run again."
        )
    return outputs, labels


def _pair(
    registry: Registry, baseline: Version, candidate: Version, confidence: float
) -> Paired | None:
    if baseline.tags.get("data_digest") != candidate.tags.get("data_digest"):
        return None
    task = find_task(registry.report(candidate).task)
    if task.reference is not None:  # its outputs are read with the texts, which stay with the run
        return None
    old, labels = _student_outputs(registry, baseline)
    new, same_labels = _student_outputs(registry, candidate)
    if not np.array_equal(labels, same_labels) or old.shape != new.shape:
        return None
    return compare_paired(
        old, new, labels, metrics=task.metrics, errors=task.errors, confidence=confidence
    )


def _student_outputs(registry: Registry, version: Version) -> tuple[np.ndarray, np.ndarray]:
    """Return readings and labels of a version's test split."""
    with registry.download(version, REGISTERED_OUTPUTS) as path:
        return read_outputs(path)
