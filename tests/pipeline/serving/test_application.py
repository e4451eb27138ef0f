import asyncio
import dataclasses
import json
import time

import numpy as np
import pytest

from pipeline.inference.classifier import load_bundle
from pipeline.serving.protocol import Student
from pipeline.serving.settings import ServeSettings
from pipeline.serving.slots import make_slot
from pipeline.standalone.predict import predict

TEXTS = "/v2/models/tiny/texts"
INFER = "/v2/models/tiny/infer"


def ask(serving, *requests, **settings):
    """Return the answers to (method, path, options), one after the other."""

    async def run():
        async with serving(**settings) as (client, _, __):
            return [await client.request(m, path, **options) for m, path, options in requests]

    return asyncio.run(run())


def post(serving, path, content, **settings):
    (answer,) = ask(serving, ("POST", path, {"json": content}), **settings)
    return answer


def tensors(**changes):
    ids, mask = [[2, 5, 3], [2, 6, 3]], [[1, 1, 1], [1, 1, 1]]
    inputs = [
        {"name": name, "shape": [2, 3], "datatype": "INT64", "data": data}
        for name, data in (("input_ids", ids), ("attention_mask", mask))
    ]
    inputs[0] |= changes
    return {"inputs": inputs}


def test_texts_are_answered_as_predict_does(serving, sealed):
    texts = ["good film", "boring dull plot", "the day"]

    answer = post(serving, TEXTS, {"texts": texts})

    assert answer.status_code == 200
    expected = predict(sealed(), texts)
    found = answer.json()["predictions"]
    assert [each["label"] for each in found] == [each["label"] for each in expected]
    for mine, theirs in zip(found, expected, strict=True):
        assert mine["scores"] == pytest.approx(theirs["scores"], abs=1e-6)


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
        tensors(name="ids"),
        tensors(datatype="FP32"),
        tensors(shape=[3, 3]),
        tensors(shape=[2, 2]),
        tensors(shape=[-1, 3]),
        tensors(shape=[6]),
        tensors(data=["a"] * 6),
        tensors(data=[[2, 10**6, 3]] * 2),
        tensors(data=[[2**80, 1, 1]] * 2),
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
    body = json.dumps(tensors(**{field: []})).encode()
    headers = {"inference-header-content-length": str(len(body))}

    (answer,) = ask(serving, ("POST", INFER, {"content": body, "headers": headers}))

    assert answer.status_code == 400


def test_one_bad_request_does_not_fail_those_beside_it(serving):
    async def run():
        async with serving() as (client, _, __):
            bad = tensors(data=[[2, 10**6, 3]] * 2)
            return await asyncio.gather(
                *(client.post(INFER, json=each) for each in (tensors(), bad, tensors()))
            )

    assert [answer.status_code for answer in asyncio.run(run())] == [200, 400, 200]


def test_a_large_body_is_refused_before_it_is_read(serving):
    announced = post(serving, TEXTS, {"texts": ["x" * 5000]}, max_body_bytes=1000)

    async def chunks():
        for _ in range(20):
            yield b"x" * 100

    (streamed,) = ask(serving, ("POST", TEXTS, {"content": chunks()}), max_body_bytes=1000)

    assert announced.status_code == streamed.status_code == 413


def test_a_token_is_asked_for_everywhere_but_for_health(serving):
    good, bad = {"authorization": "Bearer s3cret"}, {"authorization": "Bearer s3cre"}
    answers = ask(
        serving,
        ("GET", "/v2/models", {}),
        ("GET", "/v2/models", {"headers": bad}),
        ("GET", "/v2/models", {"headers": good}),
        ("GET", "/metrics", {}),
        ("GET", "/v2/health/ready", {}),
        token="s3cret",
    )

    assert [answer.status_code for answer in answers] == [401, 401, 200, 401, 200]
    assert all("s3cret" not in answer.text for answer in answers)


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


def test_a_fault_inside_tells_nothing_of_itself(serving, monkeypatch):
    def fail(*_):
        raise RuntimeError("secret path /etc/passwd")

    monkeypatch.setattr("pipeline.serving.protocol.Student.classify", fail)

    answer = post(serving, TEXTS, {"texts": ["good"]})

    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert answer.headers["x-request-id"] in answer.text


def test_a_draining_server_is_not_ready_and_closes_connections(serving):
    async def run():
        async with serving() as (client, plane, _):
            plane.is_draining = True
            return await client.get("/v2/health/ready"), await client.get("/v2/health/live")

    ready, live = asyncio.run(run())

    assert (ready.status_code, live.status_code) == (503, 200)
    assert live.headers["connection"] == "close"


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


def test_texts_are_not_logged(serving, caplog):
    caplog.set_level("INFO", logger="pipeline")

    post(serving, TEXTS, {"texts": ["private words"]})

    (line,) = [each for each in caplog.records if each.getMessage() == "request"]
    assert line.facts["status"] == 200
    assert "private" not in json.dumps([vars(each) for each in caplog.records], default=str)


def test_a_client_that_goes_is_not_answered_and_its_texts_are_dropped(serving):
    async def run():
        async with serving(max_batch_tokens=16) as (client, plane, metrics):
            served = plane.models["tiny"].slot.served
            classifier = Slow(served.classifier)
            plane.models["tiny"].slot.served = dataclasses.replace(served, classifier=classifier)
            body = json.dumps({"texts": ["good " * 20] * 40}).encode()
            sent = iter([{"type": "http.request", "body": body}])
            answers = []

            async def receive():
                if (message := next(sent, None)) is not None:
                    return message
                await asyncio.sleep(0.2)
                return {"type": "http.disconnect"}

            async def send(message):
                answers.append(message)

            headers = [(b"content-type", b"application/json")]
            scope = {"type": "http", "method": "POST", "path": TEXTS, "headers": headers}
            scope |= {"query_string": b"", "root_path": "", "http_version": "1.1"}
            await client._transport.app(scope, receive, send)
            await asyncio.sleep(0.1)
            return answers, classifier.calls, metrics.registry.get_sample_value

    answers, calls, sample = asyncio.run(run())

    assert answers == []
    assert calls < 40
    assert sample("distill_dropped_texts_total", {"model": "tiny"}) == 40 - calls
    labels = {"route": "/v2/models/{model_name}/texts", "status": "499"}
    assert sample("distill_request_seconds_count", labels) == 1


class Slow:
    """A classifier whose calls take 30 ms."""

    def __init__(self, classifier):
        self._classifier, self.calls = classifier, 0

    def __getattr__(self, name):
        return getattr(self._classifier, name)

    def run(self, inputs):
        self.calls += 1
        time.sleep(0.03)
        return self._classifier.run(inputs)


def test_the_time_of_a_request_begins_with_its_last_byte(serving):
    async def body():
        yield b'{"texts": '
        await asyncio.sleep(0.3)
        yield b'["good"]}'

    async def run():
        async with serving() as (client, _, metrics):
            headers = {"content-type": "application/json"}
            answer = await client.post(TEXTS, content=body(), headers=headers)
            labels = {"route": "/v2/models/{model_name}/texts", "status": "200"}
            return answer, metrics.registry.get_sample_value("distill_request_seconds_sum", labels)

    answer, seconds = asyncio.run(run())

    assert answer.status_code == 200
    assert seconds < 0.3


def test_health_checks_are_logged_when_their_answer_changes(serving, caplog):
    caplog.set_level("INFO", logger="pipeline")

    async def run():
        async with serving() as (client, plane, _):
            for _ in range(3):
                await client.get("/v2/health/ready")
                await client.get("/v2/health/live")
            plane.is_draining = True
            await client.get("/v2/health/ready")

    asyncio.run(run())

    lines = [each.facts for each in caplog.records if each.getMessage() == "request"]
    assert [(each["path"], each["status"]) for each in lines] == [
        ("/v2/health/ready", 200),
        ("/v2/health/live", 200),
        ("/v2/health/ready", 503),
    ]


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
    assert "Of 2 models, 1 are loaded and 0 have no champion" in unknown.json()["error"]
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
