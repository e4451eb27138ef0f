import math
import sys

import pytest

from pipeline.chain.sweep_optuna import (
    UNGUIDED,
    add_known,
    check_installed,
    end_trial,
    longest_distance,
    propose,
    start_study,
)
from pipeline.config import SweepConfig
from pipeline.errors import InputError
from pipeline.facts.sweep import SweepTrial

SIZE, RATE, KIND = "teacher.adapter.bottleneck_size", "finetune.learning_rate", "absorb.exact"
OVER = {
    SIZE: {"low": 8, "high": 128, "log": True},
    RATE: {"low": 1.234e-4, "high": 1e-2, "log": True},
    KIND: ["free", "never"],
}


def sweep(over=OVER, **settings):
    return SweepConfig(over=over, trials=10, **settings)


def outcome(settings, *, distance=0.1, value=0.9, ended="finished"):
    return SweepTrial(
        settings=settings, distance=distance, start_value=0.5, value=value, ended=ended
    )


def proposals(config, *, seed=0, count=12):
    """Return what is proposed where larger bottlenecks are closer and better."""
    study, found = start_study(seed=seed), []
    for _ in range(count):
        proposed = propose(study, config.over)
        size = proposed.settings[SIZE]
        is_far = 1 / size > longest_distance(study, 0.0, prune=config.prune)
        value, ended = (None, "pruned") if is_far else (size / 128, "finished")
        found_out = outcome(proposed.settings, distance=1 / size, value=value, ended=ended)
        end_trial(study, proposed.trial, found_out)
        found.append((dict(proposed.settings), ended))
    return found


def test_equal_seed_and_results_lead_to_equal_proposals():
    assert proposals(sweep()) == proposals(sweep())
    assert proposals(sweep()) != proposals(sweep(), seed=1)


def test_numbers_are_in_their_range_and_of_three_digits():
    found = [settings for settings, _ in proposals(sweep(), count=40)]

    assert all(type(each[SIZE]) is int and 8 <= each[SIZE] <= 128 for each in found)
    assert all(1.234e-4 <= each[RATE] <= 1e-2 for each in found)
    assert all(each[RATE] in (1.234e-4, float(f"{each[RATE]:.3g}")) for each in found)
    assert {each[KIND] for each in found} == {"free", "never"}


def test_proposals_learn_from_what_was_found():
    sizes = [settings[SIZE] for settings, _ in proposals(sweep(), count=30)]

    assert sum(sizes[-10:]) > sum(sizes[:10])


def test_none_is_pruned_before_enough_have_finished():
    ends = [ended for _, ended in proposals(sweep(prune=0.9), count=30)]

    assert ends[:UNGUIDED] == ["finished"] * UNGUIDED
    assert "pruned" in ends


def test_larger_part_prunes_more():
    counts = [
        [ended for _, ended in proposals(sweep(prune=prune), count=30)].count("pruned")
        for prune in (0, 0.25, 0.9)
    ]

    assert counts[0] == 0
    assert counts == sorted(counts)


@pytest.fixture
def finished():
    """``finished(pairs)``: a study whose trials have these distances and values."""

    def finished(pairs):
        study = start_study(seed=0)
        for distance, value in pairs:
            proposed = propose(study, sweep().over)
            made = outcome(proposed.settings, distance=distance, value=value)
            end_trial(study, proposed.trial, made)
        return study

    return finished


def test_limit_is_a_quantile_of_the_finished_distances(finished):
    study = finished((distance, 0.9) for distance in (0.1, 0.2, 0.3, 0.4, 0.5))

    assert longest_distance(study, 0.5, prune=0.5) == pytest.approx(0.3)
    assert longest_distance(study, 0.5, prune=0.25) == pytest.approx(0.4)
    assert longest_distance(study, 0.5, prune=0) == math.inf


def test_worse_trials_do_not_count(finished):
    near_and_bad = [(0.001, 0.6)] * 6
    good = [(0.1, 0.8), (0.2, 0.9), (0.3, 0.8), (0.4, 0.9), (0.5, 0.8)]
    study = finished(near_and_bad + good)

    assert longest_distance(study, 0.7, prune=0.5) == pytest.approx(0.3)
    assert longest_distance(study, 0.8, prune=0.5) == pytest.approx(0.3)
    assert longest_distance(study, 0.81, prune=0.5) == math.inf  # two are as good
    assert longest_distance(study, 0.5, prune=0.5) == pytest.approx(0.001)


def test_pruned_failed_and_withdrawn_trials_do_not_count(finished):
    study = finished([(0.1, 0.9)] * (UNGUIDED - 1))
    for ended in ("pruned", "failed", None):
        proposed = propose(study, sweep().over)
        made = ended and outcome(proposed.settings, value=None, ended=ended)
        end_trial(study, proposed.trial, made)
    end_trial(study, propose(study, sweep().over).trial, outcome({}, distance=None))

    assert longest_distance(study, 0.5, prune=0.5) == math.inf
    assert len(study.trials) == UNGUIDED + 3


@pytest.mark.parametrize(
    ("size", "rate", "kind", "is_known"),
    [
        (64, 1e-3, "free", True),
        (64.0, 1e-3, "free", True),
        (4, 1e-3, "free", False),
        (64.5, 1e-3, "free", False),
        (64, 1.0, "free", False),
        (64, 1e-3, "always", False),
        ("wide", 1e-3, "free", False),
        (None, 1e-3, "free", False),
    ],
)
def test_known_combination_is_told_where_it_is_among_those_to_try(size, rate, kind, is_known):
    config = sweep()
    study = start_study(seed=0)

    add_known(study, config.over, outcome({SIZE: size, RATE: rate, KIND: kind}))

    assert [trial.value for trial in study.trials] == [0.9] * is_known


def test_missing_package_is_named_with_its_installation(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)

    with pytest.raises(InputError, match=r"sweep\.trials.*pip install 'adapter-distill\[optuna\]'"):
        check_installed()
