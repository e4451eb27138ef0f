import pytest

from pipeline.chain.sweep_grid import check_space, list_combinations, name_settings
from pipeline.chain.sweep_plan import plan_students
from pipeline.config import AdapterConfig, RunConfig
from pipeline.errors import InputError

SIZE, EPOCHS = "teacher.adapter.bottleneck_size", "distill.epochs"


def config(over, trials=None, **tables):
    needed = {
        "data": {"train": "texts.csv", "labels": ["a", "b"]},
        "teacher": {"model": "some/model"},
    }
    sweep = {"over": over, "layers": [3], "trials": trials}
    return RunConfig.model_validate(needed | tables | {"sweep": sweep})


@pytest.fixture
def config_of_trials():
    """``config_of_trials(over)``: a config whose sweep makes trials."""
    usual = {SIZE: {"low": 8, "high": 64, "log": True}, EPOCHS: {"low": 0.5, "high": 4}}
    return lambda over=usual: config(over, trials=4)


def test_nothing_varied_is_the_config_alone():
    own = config({})

    (combination,) = list_combinations(own)

    assert (combination.config, dict(combination.settings)) == (own, {})


def test_every_combination_is_a_config_and_the_own_one_comes_first():
    own = config({SIZE: [16, 32], EPOCHS: [1, 4]}, distill={"epochs": 9})

    combinations = list_combinations(own)

    found = [tuple(combination.settings.values()) for combination in combinations]
    usual = AdapterConfig().bottleneck_size
    assert found == [(usual, 9), (16, 1), (16, 4), (32, 1), (32, 4)]
    for combination in combinations:
        assert combination.config.teacher.adapter.bottleneck_size == combination.settings[SIZE]
        assert combination.config.distill.epochs == combination.settings[EPOCHS]


def test_combination_that_is_the_config_itself_is_not_made_twice():
    usual = AdapterConfig().bottleneck_size

    assert len(list_combinations(config({SIZE: [usual, 16]}))) == 2


def test_students_without_all_layers_vary_in_the_distillation_of_their_own():
    planned = plan_students(config({EPOCHS: [5]}), 6)

    named = {student.name: student.config for student in planned}
    assert list(named) == [
        "6 layers, epochs 3",
        "3 layers, epochs 3",
        "6 layers, epochs 5",
        "3 layers, epochs 5",
    ]
    assert named["3 layers, epochs 5"].distill.epochs == 5
    assert named["3 layers, epochs 5"].distill.learning_rate == 1e-4  # of sweep.distill
    assert named["3 layers, epochs 3"].distill.epochs == 6


@pytest.mark.parametrize(
    "name",
    [
        *("data.train_size", "seed", "name", "evaluate.confidence", "benchmark.rounds"),
        *("gate.overhead", "teacher.model", "sweep.layers", "student.layers", "adapter"),
    ],
)
def test_setting_that_changes_what_is_measured_on_is_refused(name):
    with pytest.raises(InputError, match=rf"sweep\.over: {name} cannot be varied"):
        list_combinations(config({name: [1, 2]}))


@pytest.mark.parametrize(
    ("name", "value"),
    [(SIZE, -1), (SIZE, "wide"), ("distill.epoch", 1), ("distill.epochs.x", 1), ("absorb.x", None)],
)
def test_unknown_setting_or_value_is_refused_with_its_name(name, value):
    with pytest.raises(InputError, match=r"sweep\.over"):
        list_combinations(config({name: [value]}))


def test_values_and_ranges_of_trials_are_checked_before_the_first(config_of_trials):
    check_space(config_of_trials())
    check_space(config_of_trials({SIZE: [16, 32, 64], EPOCHS: {"low": 1, "high": 4}}))


@pytest.mark.parametrize(
    ("name", "values", "problem"),
    [
        (SIZE, [16, 32, -1], "bottleneck_size"),
        (SIZE, {"low": -4, "high": 16}, "bottleneck_size"),
        (SIZE, {"low": 8.0, "high": 64.0}, r"takes whole numbers, found the range 8\.0 to 64\.0"),
        ("absorb.exact", {"low": 1, "high": 2}, "exact"),
        ("absorb.enabled", {"low": 0, "high": 1}, "is no number and has no range"),
        ("distill.epoch", {"low": 1, "high": 2}, "distill.epoch: unknown key"),
        ("absorb", [1], "absorb cannot be varied"),
        ("data.train_size", [1], "data.train_size cannot be varied"),
        ("quantize.ship", ["fp32"], "cannot be varied by trials"),
    ],
)
def test_what_trials_cannot_vary_is_refused_with_its_name(config_of_trials, name, values, problem):
    with pytest.raises(InputError, match=rf"sweep\.over.*{problem}|{problem}"):
        check_space(config_of_trials({EPOCHS: [1, 2], name: values}))


def test_settings_are_named_by_their_last_part_where_it_is_enough():
    assert name_settings({SIZE: 16, EPOCHS: 2}) == "bottleneck_size 16, epochs 2"
    assert name_settings({EPOCHS: 2, "finetune.epochs": 1}) == "distill.epochs 2, finetune.epochs 1"
