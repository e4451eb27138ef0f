import asyncio
import json

import numpy as np
import pytest
from support.serving_requests import TEXTS, ask, post, tensors

from pipeline.inference.classifier import load_bundle
from pipeline.serving.protocol import Student
from pipeline.serving.settings import ServeSettings
from pipeline.serving.slots import make_slot
from pipeline.standalone.predict import predict

INFER = "/v2/models/tiny/infer"


def tensors_with(**changes):
    """Return the body of a tensor request whose first input is another one."""
    body = tensors()
    body["inputs"][0] |= changes
    return body


def test_texts_are_answered_as_predict_does(serving, sealed):
    texts = ["good film", "boring dull plot", "the day"]

    answer = post(serving, TEXTS, {"texts": texts})

    assert answer.status_code == 200
    expected = predict(sealed(), texts)
    found = answer.json()["predictions"]
    assert [each["label"] for each in found] == [each["label"] for each in expected]
    for mine, theirs in zip(found, expected, strict=True):
        assert mine["scores"] == pytest.approx(theirs["scores"], abs=1e-6)


def test_texts_that_are_cut_are_named_and_counted(serving, sealed):
    limit = load_bundle(sealed()).encoder.settings.max_length
    long = " ".join(["good"] * (limit + 1))

    async def run():
        async with serving() as (client, _, metrics):
            one = await client.post(TEXTS, json={"texts": ["good film", long, "dull", long]})
            other = await client.post(TEXTS, json={"texts": ["good film"]})
            return one.json(), other.json(), metrics.registry.get_sample_value

    one, other, sample = asyncio.run(run())

    assert (one["truncated"], other["truncated"]) == ([1, 3], [])
    assert sample("distill_truncated_texts_total", {"model": "tiny"}) == 2


def test_pairs_are_read_as_pairs(serving, sealed):
    answer = post(serving, TEXTS, {"texts": [["good film", "dull plot"], "good"]})

    expected = predict(sealed(), [("good film", "dull plot"), "good"])
    scores = [each["score"] for each in answer.json()["predictions"]]
    assert scores == pytest.approx([each["score"] for each in expected], abs=1e-6)


def test_tensors_give_the_logits_of_onnxruntime(serving, sealed):
    answer = post(serving, INFER, tensors() | {"id": "42"}).json()

    ids = np.array([[2, 5, 3], [2, 6, 3]])
    expected = load_bundle(sealed()).run({"input_ids": ids, "attention_mask": np.ones_like(ids)})
    assert (answer["id"], answer["model_name"]) == ("42", "tiny")
    output = answer["outputs"][0]
    assert (output["name"], output["datatype"], output["shape"]) == ("logits", "FP32", [2, 2])
    assert np.reshape(output["data"], (2, 2)) == pytest.approx(expected, abs=1e-6)


def test_the_protocol_tells_what_is_there(serving):
    live, ready, models, model = ask(
        serving,
        *(
            ("GET", f"/v2/{path}", {})
            for path in ("health/live", "health/ready", "models", "models/tiny")
        ),
    )

    assert live.json() == {"live": True}
    assert ready.json()["ready"] is True
    assert models.json() == {"models": ["tiny"]}
    assert [each["name"] for each in model.json()["inputs"]] == ["input_ids", "attention_mask"]


@pytest.mark.parametrize(
    ("content", "status"),
    [
        ({"texts": []}, 422),
        ({"texts": "good"}, 422),
        ({"texts": [1]}, 422),
        ({"texts": [["a", "b", "c"]]}, 422),
        ({"text": ["good"]}, 422),
        ({"texts": ["good"] * 65}, 400),
        ({"texts": ["x" * 20_001]}, 400),
    ],
)
def test_texts_beyond_the_limits_are_refused(serving, content, status):
    answer = post(serving, TEXTS, content)

    assert answer.status_code == status
    assert list(answer.json()) == ["error"]


def test_half_a_surrogate_pair_is_refused(serving):
    headers = {"content-type": "application/json"}
    body = b'{"texts": ["\\ud800"]}'

    (answer,) = ask(serving, ("POST", TEXTS, {"content": body, "headers": headers}))

    assert answer.status_code in (400, 422)


@pytest.mark.parametrize(
    "content",
    [
        tensors_with(name="ids"),
        tensors_with(datatype="FP32"),
        tensors_with(shape=[3, 3]),
        tensors_with(shape=[2, 2]),
        tensors_with(shape=[-1, 3]),
        tensors_with(shape=[6]),
        tensors_with(data=["a"] * 6),
        tensors_with(data=[[2, 10**6, 3]] * 2),
        tensors_with(data=[[2**80, 1, 1]] * 2),
        {"inputs": []},
        {"inputs": tensors()["inputs"] * 2},
        {"inputs": [tensors()["inputs"][0], tensors()["inputs"][1] | {"data": [0] * 6}]},
        [],
    ],
)
def test_tensors_that_do_not_fit_are_refused(serving, content):
    answer = post(serving, INFER, content)

    assert answer.status_code == 400
    assert list(answer.json()) == ["error"]


@pytest.mark.parametrize("field", ["name", "datatype"])
def test_types_are_checked_in_the_json_before_binary_tensors_too(serving, field):
    body = json.dumps(tensors_with(**{field: []})).encode()
    headers = {"inference-header-content-length": str(len(body))}

    (answer,) = ask(serving, ("POST", INFER, {"content": body, "headers": headers}))

    assert answer.status_code == 400


def test_one_bad_request_does_not_fail_those_beside_it(serving):
    async def run():
        async with serving() as (client, _, __):
            bad = tensors_with(data=[[2, 10**6, 3]] * 2)
            return await asyncio.gather(
                *(client.post(INFER, json=each) for each in (tensors(), bad, tensors()))
            )

    assert [answer.status_code for answer in asyncio.run(run())] == [200, 400, 200]


def test_a_full_queue_and_a_passed_deadline_are_told(serving):
    full = post(serving, TEXTS, {"texts": ["good"] * 3}, max_queue_texts=2)
    late = post(serving, TEXTS, {"texts": ["good"]}, deadline_ms=0.001)

    assert (full.status_code, late.status_code) == (503, 504)
    assert full.headers["retry-after"] == "1"


@pytest.mark.parametrize(
    "path", ["/v2/models/none", "/v2/models/..%2f..%2fetc", "/v2/repository/models/tiny/unload"]
)
def test_unknown_models_and_routes_are_not_found(serving, path):
    method = "POST" if path.endswith("unload") else "GET"

    (answer,) = ask(serving, (method, path, {}))

    assert answer.status_code == 404


def test_requests_that_wait_share_a_call_and_are_counted(serving):
    async def run():
        async with serving() as (client, _, metrics):
            asked = [client.post(TEXTS, json={"texts": ["good"] * (n % 3 + 1)}) for n in range(24)]
            answers = await asyncio.gather(*asked)
            sample = metrics.registry.get_sample_value
            text = (await client.get("/metrics")).text
            return answers, sample("distill_batch_texts_count", {"model": "tiny"}), text

    answers, calls, text = asyncio.run(run())

    assert [len(a.json()["predictions"]) for a in answers] == [n % 3 + 1 for n in range(24)]
    assert calls < 24
    assert "distill_queue_texts" in text
    assert 'route="/v2/models/{model_name}/texts",status="200"' in text


def test_a_name_without_champion_does_not_keep_the_server_from_being_ready(serving):
    async def run():
        async with serving() as (client, plane, metrics):
            other = Student(make_slot("other", ServeSettings(), metrics), ServeSettings())
            plane.models["other"] = other
            answers = [await client.get("/v2/health/ready")]
            other.slot.has_champion, other.slot.missing = False, "no champion yet"
            answers.append(await client.get("/v2/health/ready"))
            index = (await client.post("/v2/repository/index", json={})).json()
            other.slot.batcher.close()
            return answers, index

    (unknown, ready), index = asyncio.run(run())

    assert unknown.status_code == 503
    assert "1 of 2 models are loaded, and 0 have no champion" in unknown.json()["error"]
    assert ready.json() == {"ready": True, "models": 2, "loaded": 1, "without_champion": 1}
    assert [(each["name"], each["state"], each["reason"]) for each in index] == [
        ("tiny", "READY", ""),
        ("other", "UNAVAILABLE", "no champion yet"),
    ]


def test_characters_of_a_request_are_bounded(serving):
    answer = post(serving, TEXTS, {"texts": ["x" * 90] * 3}, max_request_characters=200)

    assert answer.status_code == 400
    assert "200 characters per request" in answer.text


def test_the_texts_are_taken_as_json_alone(serving):
    body = b'{"texts": ["good"]}'
    plain = {"content-type": "text/plain"}

    answers = ask(serving, ("POST", TEXTS, {"content": body, "headers": plain}))

    assert [each.status_code for each in answers] == [400]
