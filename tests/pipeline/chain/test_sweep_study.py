"""Trials of a sweep, with tiny models, up to the distilled students."""

from collections import Counter
from statistics import fmean, median

import pytest
from support.smoke_runs import SMOKE

from pipeline.chain.program import drive, perform
from pipeline.chain.sweep_optuna import UNGUIDED
from pipeline.chain.sweep_study import study_students
from pipeline.config.load import load_config
from pipeline.errors import InputError, UnreachableError

TEXTS, RATE = "absorb.texts", "distill.learning_rate"


def over(**values):
    """Return the override that varies these settings of absorb and distill, each as TOML."""
    names = {"texts": TEXTS, "rate": RATE, "enabled": "absorb.enabled"}
    given = ", ".join(f'"{names[short]}" = {toml}' for short, toml in values.items())
    return f"sweep.over={{ {given} }}"


class Do:
    """A store as `perform` drives it, which remembers the stages and what was built."""

    def __init__(self, store):
        self.store, self.stages = store, []

    def __call__(self, item):
        found = perform(self.store, item)
        if hasattr(found, "reused"):
            self.stages.append(found)
        return found

    @property
    def built(self):
        return Counter(stage.name for stage in self.stages if not stage.reused)

    def made(self, name):
        return {stage.digest: stage for stage in self.stages if stage.name == name}


@pytest.fixture(scope="module")
def study(smoke_overrides, tiny_store):
    """``study(*overrides)``: the trials, the finished students, and what was done for them."""

    def study(*overrides, do=None):
        own = ("absorb.exact=never", "sweep.layers=[2]", "distill.epochs=0.2")
        config = load_config(SMOKE, [*smoke_overrides, *own, *overrides])
        do = do or Do(tiny_store)
        found, students = drive(study_students(config, 2), do)
        return found, students, do

    return study


TWO_RANGES = over(texts="{ low = 8, high = 72 }", rate="{ low = 1e-5, high = 1e-2, log = true }")


@pytest.fixture(scope="module")
def nine(study):
    """A study of nine trials, of which most are pruned once that begins."""
    return study(TWO_RANGES, "sweep.trials=9")


def test_trials_differ_in_settings_and_are_as_many_as_wanted(nine):
    found, _, _ = nine

    assert len(found.trials) == found.wanted == 9
    assert len({tuple(trial.settings.values()) for trial in found.trials}) == 9
    assert all(8 <= trial.settings[TEXTS] <= 72 for trial in found.trials)
    assert all(1e-5 <= trial.settings[RATE] <= 1e-2 for trial in found.trials)


def test_trial_further_from_its_teacher_than_half_of_those_as_good_is_pruned(nine):
    found, _, _ = nine

    finished = []  # the config's own 4,000 texts are outside the range
    for trial in found.trials:
        as_good = [each.distance for each in finished if each.value >= trial.start_value]
        is_far = len(as_good) >= UNGUIDED and trial.distance > median(as_good)
        assert (trial.ended == "pruned") is is_far
        if not is_far:
            finished.append(trial)
    assert "pruned" in {trial.ended for trial in found.trials}


def test_pruned_trial_is_absorbed_and_not_distilled(nine):
    found, students, do = nine
    finished = [trial for trial in (found.own, *found.trials) if trial.ended == "finished"]
    pruned = [trial for trial in found.trials if trial.ended == "pruned"]

    assert len(do.made("absorb")) == len({trial.settings[TEXTS] for trial in found.trials} | {72})
    assert len(do.made("distill")) == len(finished)
    assert all("the limit by the finished trials with accuracy" in trial.reason for trial in pruned)
    assert {trial.value for trial in pruned} == {None}
    assert [student.settings for student in students] == [trial.settings for trial in finished]


def test_values_are_those_of_the_finished_stages(nine):
    found, _, do = nine
    distances = {stage.facts.held_out["mean_kl"] for stage in do.made("absorb").values()}
    qualities = {stage.facts.validation["accuracy"] for stage in do.made("distill").values()}

    assert {trial.distance for trial in found.trials} <= distances
    assert {trial.value for trial in found.trials} - {None} <= qualities


def test_repeated_study_builds_nothing_and_decides_alike(nine, study):
    found, students, _ = nine

    again, same, do = study(TWO_RANGES, "sweep.trials=9")

    assert do.built == {}
    assert again == found
    assert [student.config for student in same] == [student.config for student in students]


def test_further_trials_keep_the_first_ones(nine, study):
    found, _, _ = nine

    more, _, do = study(TWO_RANGES, "sweep.trials=10")

    assert more.trials[:9] == found.trials
    assert do.built["absorb"] <= 1


def test_nothing_is_pruned_where_the_config_says_so(study):
    found, students, _ = study(TWO_RANGES, "sweep.trials=9", "sweep.prune=0")

    assert {trial.ended for trial in found.trials} == {"finished"}
    assert len(students) == 10


def test_trial_is_judged_by_the_mean_of_its_students(study):
    rates = over(rate="[1e-5]")
    found, students, do = study(
        rates, "sweep.trials=1", "sweep.layers=[1]", "sweep.distill.epochs=0.2"
    )

    (trial,) = found.trials
    distances = [stage.facts.held_out["mean_kl"] for stage in do.made("absorb").values()]
    assert len(students) == 4
    assert len(distances) == 2
    assert trial.distance == pytest.approx(fmean(distances))


def test_failed_trial_says_why_and_the_others_go_on(study):
    found, students, _ = study(over(rate="[1e37, 1e-4]"), "sweep.trials=2", "distill.epochs=1")

    by_rate = {trial.settings[RATE]: trial for trial in found.trials}
    assert by_rate[1e-4].ended == "finished"
    assert by_rate[1e37].ended == "failed"
    assert "The loss is not finite" in by_rate[1e37].reason
    assert by_rate[1e37].value is None
    assert [student.settings[RATE] for student in students].count(1e37) == 0
    assert found.summary == "2 trials: 1 finished, 0 pruned after absorption, 1 failed."


def test_study_ends_where_no_other_combination_is_left(study):
    found, _, _ = study(over(rate="[1e-5, 1e-4]"), "sweep.trials=5")

    assert len(found.trials) == 2
    assert found.summary.startswith("2 trials of 5, because no other combination was proposed: ")


def test_trial_without_absorption_has_no_distance(study):
    found, _, _ = study(over(enabled="[false]"), "sweep.trials=1")

    assert found.own.distance is not None
    assert [(trial.distance, trial.ended) for trial in found.trials] == [(None, "finished")]


def test_config_that_fails_itself_ends_the_sweep(study):
    with pytest.raises(InputError, match="The loss is not finite"):
        study(over(rate="[1e-5]"), "sweep.trials=1", f"{RATE}=1e37", "distill.epochs=1")


def test_service_that_is_away_ends_the_sweep(study, tiny_store):
    class Away(Do):
        def __call__(self, item):
            if len(self.made("absorb")) == 1 and item.name == "find-model":
                raise UnreachableError("The hub does not answer.")
            return super().__call__(item)

    with pytest.raises(UnreachableError):
        study(over(rate="[1e-5]"), "sweep.trials=1", do=Away(tiny_store))
