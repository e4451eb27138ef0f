"""Outcome of a training: the Trainer's record of it, as facts."""

from typing import Any

from transformers import TrainerState

from pipeline.facts.compute import Compute
from pipeline.facts.training import Point, TrainingOutcome
from pipeline.training.precision import ChosenPrecision


def outcome_of(
    state: TrainerState, precision: ChosenPrecision, compute: Compute
) -> TrainingOutcome:
    """Return the curve of a training, and the best of its points."""
    points: dict[int, dict[str, Any]] = {}
    for entry in state.log_history:
        point = points.setdefault(int(entry["step"]), {})
        if "loss" in entry:
            point.update(train_loss=entry["loss"], learning_rate=entry["learning_rate"])
        measured = {
            name.removeprefix("eval_"): float(value)
            for name, value in entry.items()
            if name.startswith("eval_") and not name.endswith(("_runtime", "_per_second"))
        }
        if measured:
            point["validation"] = measured
    return TrainingOutcome(
        steps=state.global_step,
        best_step=state.best_global_step or state.global_step,
        best_metric=float(state.best_metric or 0.0),
        precision=precision.name,
        why_precision=precision.why,
        device=str(compute),
        curve=tuple(Point(step=step, **point) for step, point in sorted(points.items()) if point),
    )
