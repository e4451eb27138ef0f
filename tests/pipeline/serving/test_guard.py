"""The guard before every request: size, token, log line, metrics, and faults hidden."""

import asyncio
import dataclasses
import json
import time

from support.serving_requests import TEXTS, ask, post


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
