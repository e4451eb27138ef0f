import logging

import pytest

from pipeline.chain import turns
from pipeline.chain.turns import Turns


@pytest.fixture
def began(caplog, monkeypatch):
    """``began(*seconds)``: what is logged of turns that take so long each, and of one more."""

    def began(*seconds):
        clock = iter([0.0, *(sum(seconds[:number]) for number in range(len(seconds) + 1))])
        monkeypatch.setattr(turns.time, "monotonic", lambda: next(clock))
        caplog.set_level(logging.INFO)
        all_turns = Turns("student", 4, title="students")
        for number in range(len(seconds) + 1):
            all_turns.begin(f"{6 - number} layers")
        return [record.outlook for record in caplog.records if hasattr(record, "outlook")]

    return began


def test_each_turn_says_its_place_and_its_name(began):
    first, second = began(60)

    assert (str(first), first.percent) == ("student 1 of 4: 6 layers", 0)
    assert (str(second), second.percent) == ("student 2 of 4: 5 layers; about 3 min left", 25)


def test_time_left_is_that_of_the_turns_so_far(began):
    assert [turn.seconds_left for turn in began(60, 120, 30)] == [None, 180, 180, 70]


def test_turn_whose_stages_are_reused_gives_no_pace(began):
    assert [turn.seconds_left for turn in began(0.2, 60)] == [None, None, 120]
