"""Optuna's half of a sweep: the combination to try next, and the trials that end early.

Optuna (Akiba et al., 2019, https://arxiv.org/abs/1907.10902) draws the first trials at random, and
the others by a tree-structured Parzen estimator (Bergstra et al., 2011,
https://papers.nips.cc/paper/4443-algorithms-for-hyper-parameter-optimization). Its study is in
memory and has the config's seed. A repeated sweep, whose stages are all finished, is proposed the
same combinations again.

Optuna is an extra: it is imported where it is used.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from pipeline.config.sweep import Varied, VariedRange, VariedValues
from pipeline.errors import InputError
from pipeline.facts.sweep import SweepTrial

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.distributions import BaseDistribution

UNGUIDED = 5
"""Finished trials before which proposals are random, and to compare a trial with."""
_ABSORBED = 0
"""Step at which a trial reports its distance to the teacher; negative, as the study looks for the
highest."""
_DIGITS = 3
"""Significant digits of a proposed number, so that the report's can be copied into a config."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Proposed:
    """Values that Optuna proposes, and its trial, which is told what they give."""

    settings: Mapping[str, Varied]
    trial: "Trial"


def check_installed() -> None:
    """Refuse a study without its package.

    Raises:
        InputError: saying how to install it.
    """
    if find_spec("optuna") is None:
        raise InputError(
            "sweep.trials: optuna is not installed, which proposes the trials. Install it with "
            "pip install 'adapter-distill[optuna]', or leave sweep.trials out."
        )


def start_study(*, seed: int) -> "Study":
    """Return a study in memory, which looks for the highest value."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=UNGUIDED)
    return optuna.create_study(direction="maximize", sampler=sampler)


def add_known(study: "Study", over: Mapping[str, VariedValues], known: SweepTrial) -> None:
    """Tell a study what a finished combination gave, if its values are among those to try."""
    from optuna.trial import create_trial

    if known.value is None or not all(map(_holds, over.values(), known.settings.values())):
        return
    study.add_trial(
        create_trial(
            params=dict(known.settings),
            distributions=_space(over),
            value=known.value,
            intermediate_values={} if known.distance is None else {_ABSORBED: -known.distance},
        )
    )


def propose(study: "Study", over: Mapping[str, VariedValues]) -> Proposed:
    """Return the values to try next, with numbers of ranges rounded to three digits."""
    trial = study.ask(_space(over))
    settings = {name: _rounded(trial.params[name], over[name]) for name in over}
    return Proposed(settings=settings, trial=trial)


def longest_distance(study: "Study", quality: float, *, prune: float) -> float:
    """Return the distance to the teacher above which a trial is pruned; infinity for any.

    It is a quantile of the finished trials that are at least as good. A teacher that has learnt
    little is easy to absorb, so worse trials would have better ones pruned.

    Args:
        study: The trials before.
        quality: Main metric of the trial after absorption.
        prune: Part of those trials whose distance is too long.
    """
    distances = [
        -trial.intermediate_values[_ABSORBED]
        for trial in study.trials
        if trial.value is not None and trial.value >= quality and trial.intermediate_values
    ]
    if prune == 0 or len(distances) < UNGUIDED:
        return math.inf
    return float(np.quantile(distances, 1 - prune))


def end_trial(study: "Study", trial: "Trial", outcome: SweepTrial | None) -> None:
    """Tell a study how a trial ended; None withdraws its proposal."""
    from optuna.trial import TrialState

    if outcome is not None and outcome.distance is not None:
        trial.report(-outcome.distance, _ABSORBED)
    if outcome is not None and outcome.value is not None:
        study.tell(trial, outcome.value)
    else:
        pruned = outcome is not None and outcome.ended == "pruned"
        study.tell(trial, state=TrialState.PRUNED if pruned else TrialState.FAIL)


def _space(over: Mapping[str, VariedValues]) -> dict[str, "BaseDistribution"]:
    return {name: _distribution(given) for name, given in over.items()}


def _distribution(given: VariedValues) -> "BaseDistribution":
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    if not isinstance(given, VariedRange):
        return CategoricalDistribution(tuple(dict.fromkeys(given)))
    if given.is_whole:
        return IntDistribution(int(given.low), int(given.high), log=given.log)
    return FloatDistribution(given.low, given.high, log=given.log)


def _holds(given: VariedValues, value: Varied) -> bool:
    if not isinstance(given, VariedRange):
        return value in given
    if not isinstance(value, int | float) or (given.is_whole and value != int(value)):
        return False
    return given.low <= value <= given.high


def _rounded(value: Varied, given: VariedValues) -> Varied:
    if not isinstance(given, VariedRange) or not isinstance(value, float):
        return value
    rounded = float(f"{value:.{_DIGITS}g}")
    return min(max(rounded, given.low), given.high)
