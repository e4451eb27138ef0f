import pytest
from pydantic import ValidationError

from pipeline.config import SweepConfig
from pipeline.config.sweep import VariedRange

RATE = "finetune.learning_rate"


def test_range_is_whole_where_both_ends_are():
    over = {
        "absorb.texts": {"low": 8, "high": 64},
        RATE: {"low": 1e-4, "high": 1, "log": True},
        "distill.temperature": [1.0, 2.0],
    }

    found = SweepConfig(over=over, trials=3).over

    assert [type(values) for values in found.values()] == [VariedRange, VariedRange, tuple]
    assert found["absorb.texts"].is_whole
    assert not found[RATE].is_whole


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"low": 1}, r"a range is written as \{ low"),
        ({"low": 1, "high": 2, "step": 1}, r"a range is written as \{ low"),
        ({}, r"a range is written as \{ low"),
        ({"low": 2, "high": 2}, "low must be below high, found 2 and 2"),
        ({"low": 0, "high": 2, "log": True}, "log needs a low above 0, found 0"),
        ({"low": 1, "high": float("inf")}, "finite"),
        ({"low": "a", "high": 2}, "valid number"),
        ([], "at least 1 item"),
    ],
)
def test_broken_range_is_refused(given, problem):
    with pytest.raises(ValidationError, match=problem):
        SweepConfig(over={RATE: given}, trials=3)


def test_range_needs_trials_and_trials_need_settings():
    with pytest.raises(ValidationError, match=rf"{RATE} has a range.*Set sweep\.trials"):
        SweepConfig(over={RATE: {"low": 0.1, "high": 0.2}})
    with pytest.raises(ValidationError, match=r"sweep\.over names no setting"):
        SweepConfig(trials=3)


@pytest.mark.parametrize("values", [{"trials": 0}, {"prune": 1}, {"prune": -0.1}])
def test_number_out_of_bounds_is_refused(values):
    with pytest.raises(ValidationError, match="should be"):
        SweepConfig(over={RATE: [0.1]}, **values)
