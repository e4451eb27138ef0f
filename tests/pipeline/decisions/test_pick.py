import pytest

from pipeline.config import GateConfig
from pipeline.decisions.pick import Contender, front, pick

SIX, FOUR, THREE, TWO = (
    Contender(name=name, quality=quality, latency_ms=latency_ms)
    for name, quality, latency_ms in (
        ("6", 0.81, 4.0),
        ("4", 0.80, 2.5),
        ("3", 0.79, 2.0),
        ("2", 0.76, 1.4),
    )
)
SLOW = Contender(name="slow", quality=0.80, latency_ms=3.0)
AMONG = (SIX, SLOW, FOUR, THREE, TWO)


def picked(**limits):
    return pick(AMONG, GateConfig(**limits))


def test_front_leaves_out_what_another_beats_in_both():
    assert front(AMONG) == ("2", "3", "4", "6")


def test_of_equals_in_quality_the_faster_is_on_the_front_and_of_equals_in_time_the_better():
    twin = Contender(name="twin", quality=0.70, latency_ms=TWO.latency_ms)

    assert front([twin, TWO]) == ("2",)
    assert front([SLOW, FOUR]) == ("4",)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"min_quality": 0.79}, "3"),  # just met
        ({"min_quality": 0.7901}, "4"),
        ({"min_quality": 0.0}, "2"),
        ({"max_latency_ms": 2.5}, "4"),  # just met
        ({"max_latency_ms": 2.49}, "3"),
        ({"max_latency_ms": 100}, "6"),
        ({"min_quality": 0.77, "max_latency_ms": 3.0}, "3"),
    ],
)
def test_least_quality_picks_the_fastest_and_a_latency_the_best(limits, expected):
    assert picked(**limits).name == expected


def test_of_equal_quality_the_faster_is_picked():
    assert pick([SLOW, FOUR], GateConfig(max_latency_ms=5)).name == "4"


def test_nothing_asked_nothing_picked():
    found = picked()

    assert found.name is None
    assert "set gate.min_quality or gate.max_latency_ms" in found.reason


def test_quality_out_of_reach_names_the_best():
    found = picked(min_quality=0.9)

    assert found.name is None
    assert "gate.min_quality = 0.9" in found.reason
    assert "the best is 6 (validation 0.8100, 4.00 ms a text)" in found.reason


def test_two_limits_that_exclude_each_other_name_the_nearest_to_each():
    found = picked(min_quality=0.8, max_latency_ms=2.0)

    assert found.name is None
    assert "the best that is as fast is 3 (" in found.reason
    assert "the fastest that is as good is 4 (" in found.reason


def test_no_student_left_is_told():
    found = pick([], GateConfig(min_quality=0.5))

    assert found.name is None
    assert "every student is refused" in found.reason
