"""Answers that are compressed: as the client takes them, and only where it helps."""

import asyncio
import gzip
import json
import zlib

import httpx
import numpy as np
import pytest
from support.serving_requests import TEXTS

from pipeline.serving.compression import CompressedAnswer, coding_for

INFER = "/v2/models/tiny/infer"
MANY = {"texts": ["good film", "bad plot"] * 30}


def rows(count=60, **more):
    ids = [[2, 5, 3]] * count
    inputs = [
        {"name": name, "shape": [count, 3], "datatype": "INT64", "data": data}
        for name, data in (("input_ids", ids), ("attention_mask", [[1, 1, 1]] * count))
    ]
    return {"inputs": inputs, "id": "42", **more}


def raw(serving, *requests, **settings):
    """Return (status, headers, body as it was sent) of each request."""

    async def run():
        found = []
        async with serving(**settings) as (client, _, __):
            for method, path, options in requests:
                async with client.stream(method, path, **options) as answer:
                    body = b"".join([part async for part in answer.aiter_raw()])
                    found.append((answer.status_code, answer.headers, body))
        return found

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("gzip, deflate, br, zstd", "gzip"),
        ("GZip;q=0.4, deflate;q=0.7", "deflate"),
        ("x-gzip", "gzip"),
        ("*", "gzip"),
        ("*;q=0.5, gzip;q=0", None),
        ("gzip;q=0, *", None),
        ("gzip;q=0", None),
        ("gzip;q=0.000", None),
        ("gzip;q=much", None),
        ("identity;q=1, gzip;q=0.5", None),
        ("identity;q=0.2, gzip;q=0.5", "gzip"),
        ("br", None),
        ("", None),
        (",;,;q=1", None),
    ],
)
def test_the_coding_is_the_one_that_the_client_prefers(accepted, coding):
    assert coding_for([accepted.encode()]) == coding
    assert coding_for([part.encode() for part in accepted.split(",")]) == coding


@pytest.mark.parametrize(
    ("coding", "decode"), [("gzip", gzip.decompress), ("deflate", zlib.decompress)]
)
@pytest.mark.parametrize(("path", "content"), [(TEXTS, MANY), (INFER, rows())])
def test_large_answers_are_coded_as_asked_and_hold_the_same(serving, coding, decode, path, content):
    plain, coded = raw(
        serving,
        ("POST", path, {"json": content, "headers": {"accept-encoding": "identity"}}),
        ("POST", path, {"json": content, "headers": {"accept-encoding": coding}}),
    )

    assert (plain[0], coded[0]) == (200, 200)
    assert "content-encoding" not in plain[1]
    assert coded[1]["content-encoding"] == coding
    assert coded[1]["content-length"] == str(len(coded[2]))
    assert coded[1]["vary"] == "accept-encoding"
    assert "x-request-id" in coded[1]
    assert len(coded[2]) < len(plain[2])
    assert json.loads(decode(coded[2])) == json.loads(plain[2])


def test_binary_tensors_are_found_in_a_coded_answer(serving):
    content = rows(count=200, parameters={"binary_data_output": True})
    answers = raw(
        serving,
        *(
            ("POST", INFER, {"json": content, "headers": {"accept-encoding": coding}})
            for coding in ("identity", "gzip")
        ),
        max_texts=200,
    )

    (_, _, plain), (_, headers, coded) = answers
    assert headers["content-encoding"] == "gzip"
    assert gzip.decompress(coded) == plain
    json_bytes = int(headers["inference-header-content-length"])
    numbers = np.frombuffer(gzip.decompress(coded)[json_bytes:], "<f4")
    assert numbers.size == 400


def test_small_answers_faults_and_head_stay_plain(serving):
    asked = {"headers": {"accept-encoding": "gzip"}}
    small, fault, head = raw(
        serving,
        ("POST", TEXTS, {"json": {"texts": ["good film"]}, **asked}),
        ("POST", TEXTS, {"json": {"nothing": 1}, **asked}),
        ("HEAD", "/metrics", asked),
    )

    assert (small[0], fault[0], head[0]) == (200, 422, 200)
    assert "content-encoding" not in small[1]
    assert "content-encoding" not in fault[1]
    assert head[2] == b""


def test_an_answer_in_pieces_or_one_that_grows_is_sent_as_it_is():
    def sent_of(*messages):
        sent = []

        async def send(message):
            sent.append(message)

        async def run():
            answer = CompressedAnswer(send, "gzip")
            for message in messages:
                await answer.send(message)

        asyncio.run(run())
        return sent

    start = {"type": "http.response.start", "status": 200, "headers": []}
    pieces = [
        {"type": "http.response.body", "body": b"x" * 5000, "more_body": more}
        for more in (True, False)
    ]
    noise = np.random.default_rng(0).bytes(40_000)
    body = {"type": "http.response.body", "body": noise}

    assert sent_of(start, *pieces) == [start, *pieces]
    assert sent_of(start, body) == [start, body]


def test_a_client_of_httpx_reads_a_coded_answer_by_itself(serving):
    async def run():
        async with serving() as (client, _, __):
            return await client.post(TEXTS, json=MANY)

    answer = asyncio.run(run())

    assert isinstance(answer, httpx.Response)
    assert answer.headers["content-encoding"] == "gzip"
    assert len(answer.json()["predictions"]) == 60
