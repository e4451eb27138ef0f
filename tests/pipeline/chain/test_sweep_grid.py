import pytest

from pipeline.chain.sweep_grid import list_combinations, name_settings
from pipeline.chain.sweep_plan import plan_students
from pipeline.config import AdapterConfig, RunConfig
from pipeline.errors import InputError

SIZE, EPOCHS = "teacher.adapter.bottleneck_size", "distill.epochs"


def config(over, **tables):
    needed = {
        "data": {"train": "texts.csv", "labels": ["a", "b"]},
        "teacher": {"model": "some/model"},
    }
    return RunConfig.model_validate(needed | tables | {"sweep": {"over": over, "layers": [3]}})


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


def test_settings_are_named_by_their_last_part_where_it_is_enough():
    assert name_settings({SIZE: 16, EPOCHS: 2}) == "bottleneck_size 16, epochs 2"
    assert name_settings({EPOCHS: 2, "finetune.epochs": 1}) == "distill.epochs 2, finetune.epochs 1"
