"""Completions over the text route: the answers of predict, within limits."""

import asyncio

import pytest
from support.serving_requests import TEXTS

from pipeline.inference.generation import Limits
from pipeline.release.bundle import seal_bundle
from pipeline.standalone.predict import predict

INFER = "/v2/models/tiny/infer"


@pytest.fixture(scope="module")
def language(write_language_bundle, tmp_path_factory):
    folder = write_language_bundle(tmp_path_factory.mktemp("language") / "student")
    seal_bundle(folder)
    return folder


@pytest.fixture
def ask(serving, language):
    """``ask(*bodies, **settings)``: the answers to requests that are sent together."""

    def ask(*bodies, path=TEXTS, **settings):
        async def run():
            async with serving(bundle=language, **settings) as (client, _, _):
                asked = [client.post(path, json=body) for body in bodies]
                return await asyncio.gather(*asked)

        return asyncio.run(run())

    return ask


def test_completions_are_those_of_predict(ask, language):
    texts = ["the film is", "music"]

    (answer,) = ask({"texts": texts, "max_tokens": 12})

    assert answer.status_code == 200
    assert answer.json()["predictions"] == predict(language, texts, limits=Limits(tokens=12))
    assert answer.json()["predictions"][0]["tokens"] == 12


def test_request_without_a_number_gets_as_many_tokens_as_are_accepted(ask):
    (answer,) = ask({"texts": ["the"]}, max_completion_tokens=3)

    assert answer.json()["predictions"][0]["tokens"] == 3


def test_time_ends_a_completion_with_what_it_has(ask):
    (answer,) = ask({"texts": ["the", "film"]}, completion_s=1e-9)

    assert [each["ended_by"] for each in answer.json()["predictions"]] == ["time", "time"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"texts": ["the"], "max_tokens": 9}, "At most 8 tokens per completion"),
        ({"texts": ["the film is good"]}, "tokens, expected 1 to 3. Give a shorter"),
        ({"texts": [["the", "film"]]}, "takes single texts, found a pair"),
        ({"texts": [""]}, "The prompt has 0 tokens"),
    ],
)
def test_what_is_beyond_a_limit_is_refused_with_one_message(ask, body, said):
    (answer,) = ask(body, max_completion_tokens=8, max_prompt_tokens=3)

    assert answer.status_code == 400
    assert said in answer.json()["error"]


def test_request_that_cannot_begin_in_time_is_given_up(ask):
    answers = ask(*[{"texts": ["the"] * 4}] * 3, deadline_ms=1e-6)

    assert {answer.status_code for answer in answers} == {504}


def test_queue_holds_for_them(ask):
    answers = ask(*[{"texts": ["the"] * 8}] * 4, max_queue_texts=8)

    assert {answer.status_code for answer in answers} == {200, 503}


def test_tensors_are_refused(ask):
    tensor = {"name": "input_ids", "datatype": "INT64", "shape": [1, 1], "data": [5]}

    (answer,) = ask({"inputs": [tensor]}, path=INFER)

    assert answer.status_code == 400
    assert "takes no tensors" in answer.json()["error"]


def test_metadata_names_the_cache(serving, language):
    async def run():
        async with serving(bundle=language) as (client, _, _):
            return (await client.get("/v2/models/tiny")).json()

    found = asyncio.run(run())

    assert {"name": "past_key_values.0.key", "datatype": "FP32", "shape": [-1, 1, -1, 8]} in found[
        "inputs"
    ]
    assert found["outputs"][0] == {"name": "logits", "datatype": "FP32", "shape": [-1, -1, 300]}


def test_classifier_takes_no_number_of_tokens(serving):
    async def run():
        async with serving() as (client, _, _):
            return await client.post(TEXTS, json={"texts": ["good film"], "max_tokens": 5})

    answer = asyncio.run(run())

    assert answer.status_code == 400
    assert "leave max_tokens out" in answer.json()["error"]
