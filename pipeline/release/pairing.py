"""Two registered students on the same test texts, by the outputs that each run's evaluation wrote.

Students that were measured on other texts can't be paired.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.errors import InputError
from pipeline.facts.arms import STUDENT
from pipeline.release.registry import OUTPUTS, Registry, Version
from pipeline.statistics.paired import Paired, compare_paired
from pipeline.tasks.table import find_task


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


def read_outputs(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the student's outputs, (N, C), and the labels, (N,), that an evaluation wrote."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            outputs, labels = arrays[STUDENT], arrays["labels"]
    # numpy and zipfile raise half a dozen kinds of errors for damaged archives.
    except Exception as error:
        raise InputError(
            f"Cannot read the outputs in {path}: {error} Register the run again."
        ) from error
    if outputs.ndim != 2 or labels.shape != (len(outputs),) or not len(labels):
        raise InputError(f"{path} does not hold one row of outputs and one label per text.")
    return outputs, labels


def _pair(
    registry: Registry, baseline: Version, candidate: Version, confidence: float
) -> Paired | None:
    if baseline.tags.get("data_digest") != candidate.tags.get("data_digest"):
        return None
    old, labels = _student_outputs(registry, baseline)
    new, same_labels = _student_outputs(registry, candidate)
    if not np.array_equal(labels, same_labels):
        return None
    task = find_task(registry.report(candidate).task)
    return compare_paired(
        old, new, labels, metrics=task.metrics, errors=task.errors, confidence=confidence
    )


def _student_outputs(registry: Registry, version: Version) -> tuple[np.ndarray, np.ndarray]:
    """Return (N, C) outputs and (N,) labels of a version's test split."""
    with registry.download(version, OUTPUTS) as path:
        return read_outputs(path)
