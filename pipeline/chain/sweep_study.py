"""The trials of a sweep: combinations that are proposed one by one, by what those before gave.

A trial has students at every number of layers, and its numbers are means over them. The distance
to the teacher after absorption, on held-out texts, ends a trial whose students begin too far away.
The main metric after distillation, on the validation split, is what the next proposals are to
raise. Files are made and measured of finished trials alone.
"""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from statistics import fmean
from typing import TYPE_CHECKING

from pipeline.chain.chain import distilled, student_start, teacher_stages
from pipeline.chain.program import Program
from pipeline.chain.sweep_grid import Combination, combine, name_settings, own_combination
from pipeline.chain.sweep_optuna import (
    Proposed,
    add_known,
    end_trial,
    longest_distance,
    propose,
    start_study,
)
from pipeline.chain.sweep_plan import PlannedStudent, check_sweep, students_of
from pipeline.chain.turns import Turns
from pipeline.config import RunConfig
from pipeline.errors import InputError, UnreachableError, first_line
from pipeline.facts.sweep import SweepStudy, SweepTrial
from pipeline.tasks.task import Task

if TYPE_CHECKING:
    from optuna import Study

logger = logging.getLogger(__name__)

_MOST_KNOWN = 50
"""Proposals in a row that are known before a study ends."""
_Limit = Callable[[float], float]
"""Longest distance to the teacher: (main metric after absorption) -> distance."""


def study_students(
    config: RunConfig, depth: int
) -> Program[tuple[SweepStudy, tuple[PlannedStudent, ...]]]:
    """Yield the steps of every trial; return the trials, and the students of the finished ones.

    Args:
        config: What the students have in common; `sweep.trials` says how many trials there are.
        depth: Layers of the backbone.

    Raises:
        InputError: as for a sweep of every combination, or where the config's own one fails.
    """
    check_sweep(config)
    own, wanted, over = own_combination(config), config.sweep.trials or 0, config.sweep.over
    study = start_study(seed=config.seed)
    first = yield from _try(own, depth, lambda _: math.inf)
    add_known(study, over, first)
    trials: list[SweepTrial] = []
    known, made = [own], [own]
    turns = Turns("trial", wanted, title="trials")
    while len(trials) < wanted and (found := _next(study, config, known)):
        proposed, combination = found
        limit = partial(longest_distance, study, prune=config.sweep.prune)
        name = name_settings(combination.settings)
        outcome = yield from turns.take(name, _attempt(combination, depth, limit))
        end_trial(study, proposed.trial, outcome)
        trials.append(outcome)
        said = outcome.reason or f"finished with {outcome.value:.4f}"
        logger.info("trial %d: %s", len(trials), said)
        known.append(combination)
        made += [combination] * (outcome.ended == "finished")
    turns.end()
    students = (student for each in made for student in students_of(each, depth))
    return SweepStudy(wanted=wanted, own=first, trials=tuple(trials)), tuple(students)


def _next(
    study: "Study", config: RunConfig, known: Sequence[Combination]
) -> tuple[Proposed, Combination] | None:
    """Return a proposal that was not tried; None where all that is proposed is known or invalid."""
    for _ in range(_MOST_KNOWN):
        proposed = propose(study, config.sweep.over)
        try:
            combination = combine(config, proposed.settings)
        except InputError as error:  # each value is valid, and these together are not
            logger.warning("left out: %s", error)
        else:
            if combination.config not in (each.config for each in known):
                return proposed, combination
        end_trial(study, proposed.trial, None)
    return None


def _attempt(combination: Combination, depth: int, limit: _Limit) -> Program[SweepTrial]:
    """Try a combination; one whose settings a stage refuses has failed, and ends no sweep."""
    try:
        return (yield from _try(combination, depth, limit))
    except UnreachableError:
        raise
    except InputError as error:
        return SweepTrial(
            settings=combination.settings,
            distance=None,
            start_value=None,
            value=None,
            ended="failed",
            reason=first_line(error),
        )


def _try(combination: Combination, depth: int, limit: _Limit) -> Program[SweepTrial]:
    """Yield the steps of a combination's students, up to absorption or to distillation."""
    students = students_of(combination, depth)
    teacher = yield from teacher_stages(combination.config)
    task, starts = teacher.context.task, []
    for student in students:
        starts.append((yield from student_start(student.config, teacher)))
    absorbed = [start.absorbed.facts.held_out for start in starts if start.absorbed is not None]
    distance = fmean(each[task.distance] for each in absorbed) if absorbed else None
    quality = fmean(each[task.main_metric] for each in absorbed) if absorbed else None
    trial = SweepTrial(
        settings=combination.settings,
        distance=distance,
        start_value=quality,
        value=None,
        ended="pruned",
    )
    if distance is not None and quality is not None and distance > (longest := limit(quality)):
        return replace(trial, reason=_why_pruned(task, distance, quality, longest))
    values = []
    for student, start in zip(students, starts, strict=True):
        _, made = yield from distilled(student.config, teacher, start)
        values.append(made.facts.validation[task.main_metric])
    return replace(trial, value=fmean(values), ended="finished")


def _why_pruned(task: Task, distance: float, quality: float, longest: float) -> str:
    metric = task.main_metric.replace("_", " ")
    return (
        f"after absorption, {task.words.distance} {distance:.3g} is above {longest:.3g}, the limit "
        f"by the finished trials with {metric} {quality:.4f} or more"
    )
