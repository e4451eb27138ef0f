"""Texts of a task with outputs for every word: the same queue, limits and answers as others."""

import asyncio

import pytest
from support.serving_requests import TEXTS
from support.tiny_models import BAD, GOOD, NEUTRAL

from pipeline.standalone.predict import predict

LONG = " ".join([*GOOD.split(), *NEUTRAL.split(), *BAD.split()] * 3)
"""Longer than the model's 16 tokens, and its windows than what is made tokens of at once."""


def ask_together(serving, *bodies, **settings):
    """Return the answers to requests that are sent together, and what the metrics say."""

    async def run():
        async with serving(kind="entities", **settings) as (client, _, metrics):
            asked = [client.post(TEXTS, json={"texts": texts}) for texts in bodies]
            answers = await asyncio.gather(*asked)
            return answers, metrics.registry.get_sample_value

    return asyncio.run(run())


@pytest.mark.parametrize("texts", [["good film"], [LONG, "the day", "good"], [LONG * 9, LONG]])
def test_entities_are_those_of_predict(serving, sealed, texts):
    (answer,), _ = ask_together(serving, texts)

    expected = predict(sealed(kind="entities"), texts)
    assert answer.status_code == 200, answer.json()
    found = answer.json()["predictions"]
    assert answer.status_code == 200
    assert sum(len(each["entities"]) for each in expected) > 0
    for mine, theirs in zip(found, expected, strict=True):
        assert [each["start"] for each in mine["entities"]] == [
            each["start"] for each in theirs["entities"]
        ]
        for one, other in zip(mine["entities"], theirs["entities"], strict=True):
            assert one == other | {"score": pytest.approx(other["score"], abs=1e-6)}


def test_windows_of_several_requests_share_a_call(serving):
    answers, value = ask_together(serving, *[["good film"]] * 4)

    assert {answer.status_code for answer in answers} == {200}
    assert value("distill_model_call_seconds_count", {"model": "tiny"}) < 4


def test_queue_holds_for_them(serving):
    answers, _ = ask_together(serving, *[[LONG] * 8] * 4, max_queue_texts=8)

    assert {answer.status_code for answer in answers} == {200, 503}


def test_deadline_holds_for_them(serving):
    ((answer,), _) = ask_together(serving, [LONG] * 8, deadline_ms=0.001)

    assert answer.status_code == 504


def test_pair_is_refused_by_name(serving):
    ((answer,), _) = ask_together(serving, [["good film", "dull plot"]])

    assert answer.status_code == 400
    assert "takes single texts, found a pair" in answer.json()["error"]
