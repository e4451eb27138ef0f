import logging

import pytest

from pipeline.chain import turns
from pipeline.chain.program import built, drive, perform
from pipeline.chain.turns import Turns
from pipeline.errors import InputError
from pipeline.store.step import step
from pipeline.store.store import Store


def count_words(text, folder):
    (folder / "text").write_text(text)
    if text == "refused":
        raise InputError("Give other words.")
    return len(text.split())


@pytest.fixture
def take(tmp_path, caplog, monkeypatch):
    """``take(*texts)``: what is logged of a stage for each, which takes a minute to build."""
    now = [0.0]
    monkeypatch.setattr(turns.time, "monotonic", lambda: now[0])

    def wait(_name, build, folder):
        now[0] += 60
        return build(folder)

    store = Store(root=tmp_path, builder=wait)

    def attempt(text):
        try:
            return (yield from built(step("count", count_words, settings=text, facts=int)))
        except InputError as error:
            return str(error)

    def program(texts, results):
        students = Turns("student", len(texts), title="students")
        for text in texts:
            results.append((yield from students.take(text, attempt(text))))
        students.end()

    def take(*texts):
        caplog.set_level(logging.INFO)
        caplog.clear()
        results = []
        drive(program(texts, results), lambda item: perform(store, item))
        said = [record.outlook for record in caplog.records if hasattr(record, "outlook")]
        return results, said

    return take


def test_each_turn_says_its_place_its_name_and_the_time_left(take):
    _, said = take("one", "two", "three")

    assert list(map(str, said)) == [
        "student 1 of 3: one",
        "student 2 of 3: two; about 2 min left",
        "student 3 of 3: three; about 1 min left",
        "all students are done",
    ]
    assert [round(turn.percent) for turn in said] == [0, 33, 67, 100]


def test_reused_stages_give_no_pace(take):
    take("one", "two")

    _, said = take("one", "two", "three", "four")

    assert [turn.seconds_left for turn in said] == [None, None, None, 60, None]


def test_what_a_turn_returns_or_refuses_is_its_programs(take):
    results, said = take("one two", "refused", "three")

    assert [getattr(each, "facts", each) for each in results] == [2, "Give other words.", 1]
    assert [turn.seconds_left for turn in said] == [None, 120, 60, None]
