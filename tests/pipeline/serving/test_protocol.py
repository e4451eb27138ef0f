"""The Open Inference Protocol over REST: versions, codings, HEAD, outputs and binary tensors."""

import asyncio
import dataclasses
import gzip
import json

import numpy as np
import pytest
from support.serving_requests import IDS, ask, tensors

from pipeline.inference.classifier import load_bundle

MODEL = "/v2/models/tiny"
INFER = f"{MODEL}/infer"


def binary(*, datatype="INT64", surplus=b"", lacking=0, **more):
    """Return the options of a request as tritonclient sends it: JSON, and tensors behind it."""
    dtype = {"INT64": "<i8", "INT32": "<i4", "FP32": "<f4"}[datatype]
    parts = [np.array(IDS, dtype).tobytes(), np.ones((2, 3), dtype).tobytes()]
    inputs = [
        {
            "name": name,
            "shape": [2, 3],
            "datatype": datatype,
            "parameters": {"binary_data_size": len(part)},
        }
        for name, part in zip(("input_ids", "attention_mask"), parts, strict=True)
    ]
    text = json.dumps({"inputs": inputs, **more}).encode()
    body = text + b"".join(parts) + surplus
    headers = {"inference-header-content-length": str(len(text))}
    return {"content": body[: len(body) - lacking], "headers": headers}


def expected_logits(sealed):
    ids = np.array(IDS)
    return load_bundle(sealed()).run({"input_ids": ids, "attention_mask": np.ones_like(ids)})


def read_binary(answer):
    """Return the JSON of an answer and its tensor, as tritonclient reads it."""
    length = int(answer.headers["inference-header-content-length"])
    content = json.loads(answer.content[:length])
    (output,) = content["outputs"]
    size = output["parameters"]["binary_data_size"]
    array = np.frombuffer(answer.content[length : length + size], "<f4")
    return content, array.reshape(output["shape"])


@pytest.mark.parametrize(("version", "status"), [("0", 200), ("1", 404), ("00", 404), ("x", 404)])
def test_the_version_that_is_served_is_answered_and_another_is_not_found(serving, version, status):
    path = f"{MODEL}/versions/{version}"

    answers = ask(
        serving,
        ("GET", path, {}),
        ("GET", f"{path}/ready", {}),
        ("POST", f"{path}/infer", {"json": tensors()}),
        ("POST", f"{path}/texts", {"json": {"texts": ["good"]}}),
    )

    assert [answer.status_code for answer in answers] == [status] * 4
    if status == 404:
        assert all("0 is" in answer.json()["error"] for answer in answers)
    else:
        assert answers[0].json()["versions"] == ["0"]
        assert answers[2].json()["model_version"] == "0"


def test_a_request_is_answered_by_the_model_that_was_served_when_it_came(serving):
    async def run():
        async with serving() as (client, plane, metrics):
            slot = plane.models["tiny"].slot
            path = f"{MODEL}/versions/0/infer"
            waiting = asyncio.create_task(client.post(path, json=tensors()))
            while not metrics.registry.get_sample_value("distill_queue_texts", {"model": "tiny"}):
                await asyncio.sleep(0)
            slot.served = dataclasses.replace(slot.served, version=1)
            return await waiting, await client.post(path, json=tensors())

    before, after = asyncio.run(run())

    assert (before.status_code, after.status_code) == (200, 404)
    assert before.json()["model_version"] == "0"


@pytest.mark.parametrize(
    "path", ["/v2", "/v2/health/live", "/v2/health/ready", "/v2/models", MODEL, f"{MODEL}/ready"]
)
def test_head_is_answered_as_get_without_the_body(serving, path):
    get, head = ask(serving, ("GET", path, {}), ("HEAD", path, {}))

    assert get.status_code == head.status_code == 200
    assert head.content == b""
    assert head.headers["content-length"] == str(len(get.content))


def test_head_of_what_is_only_posted_to_is_refused(serving):
    (answer,) = ask(serving, ("HEAD", INFER, {}))

    assert answer.status_code == 405


def test_the_server_and_its_repository_say_what_there_is(serving):
    server, index = ask(serving, ("GET", "/v2", {}), ("POST", "/v2/repository/index", {"json": {}}))

    assert server.json()["name"] == "adapter-distill"
    assert server.json()["extensions"] == ["binary_tensor_data"]
    expected = [{"name": "tiny", "version": "0", "state": "READY", "reason": ""}]
    assert index.json() == expected


@pytest.mark.parametrize(
    "content",
    [
        tensors(outputs=[{"name": "nope"}]),
        tensors(outputs=[{"name": "logits"}, {"name": "logits"}]),
        tensors(outputs=[{"name": "logits", "parameters": {"classification": 1}}]),
        tensors(outputs=[{"name": "logits", "parameters": {"shared_memory_region": "x"}}]),
        tensors(outputs=[{"name": "logits", "parameters": {"binary_data": "yes"}}]),
        tensors(parameters={"binary_data_output": "yes"}),
        tensors(ids=[[2, -1, 3]] * 2),
        tensors(ids=[[2, 10**3, 3]] * 2),
        tensors(ids=[[2, 2**63 + 5, 3]] * 2),
        tensors(ids=[[2, 5.5, 3]] * 2),
        tensors(ids=[[2, 5.0, 3]] * 2),
        tensors(ids=[[2, True, 3]] * 2),
        tensors(ids=[[2, "5", 3]] * 2),
        tensors(ids=[[2, None, 3]] * 2),
        tensors(ids=[[2, 5], [3]]),
        tensors(mask=[[1, 2, 1]] * 2),
        tensors(mask=[[1, -1, 1]] * 2),
        tensors(id="\ud800"),
        tensors() | {"inputs": [{**each, "shape": [2, 3, 1]} for each in tensors()["inputs"]]},
        tensors()
        | {
            "inputs": [
                {**each, "parameters": {"binary_data_size": 8}} for each in tensors()["inputs"]
            ]
        },
    ],
)
def test_what_the_model_does_not_have_or_take_is_refused(serving, content):
    headers = {"content-type": "application/json"}

    (answer,) = ask(serving, ("POST", INFER, {"content": json.dumps(content), "headers": headers}))

    assert answer.status_code == 400
    assert list(answer.json()) == ["error"]


def test_token_types_outside_the_model_are_refused(serving):
    """The bag of words has no token types, so the check is asked by itself."""
    from pipeline.serving.errors import RequestError
    from pipeline.serving.tensors import _check_values

    async def served():
        async with serving() as (_, plane, __):
            return plane.models["tiny"].served()

    limits = {"input_ids": 9, "token_type_ids": 2}
    found = dataclasses.replace(asyncio.run(served()), id_limits=limits)

    _check_values({"token_type_ids": np.array([[0, 1]])}, found)
    for types in ([[0, 2]], [[0, -1]]):
        with pytest.raises(RequestError, match="token_type_ids holds numbers from 0 to 1"):
            _check_values({"token_type_ids": np.array(types)}, found)


def test_ids_are_limited_by_the_embeddings_of_the_config(write_words_bundle, tmp_path):
    from pipeline.release.bundle import seal_bundle
    from pipeline.serving.slots import load_fixed

    bundle = write_words_bundle(tmp_path / "student")
    path = bundle / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"vocab_size": 64}))
    seal_bundle(bundle)

    limits = load_fixed(bundle, threads=1).id_limits

    assert limits["input_ids"] == 64


@pytest.mark.parametrize("datatype", ["INT64", "INT32"])
def test_binary_tensors_are_read_and_answered(serving, sealed, datatype):
    wanted = {"outputs": [{"name": "logits", "parameters": {"binary_data": True}}], "id": "42"}
    flags = {"parameters": {"binary_data_output": True, "timeout": 5, "mine": "x"}}
    packed = binary(datatype=datatype, **wanted)
    coded = {
        "content": gzip.compress(packed["content"]),
        "headers": packed["headers"] | {"content-encoding": "gzip"},
    }

    by_output, by_flag, from_json, compressed = ask(
        serving,
        ("POST", INFER, packed),
        ("POST", INFER, binary(datatype=datatype, **flags)),
        ("POST", INFER, {"json": tensors(**flags)}),
        ("POST", INFER, coded),
    )

    assert read_binary(by_output)[0]["id"] == "42"
    for answer in (by_output, by_flag, from_json, compressed):
        np.testing.assert_allclose(read_binary(answer)[1], expected_logits(sealed), atol=1e-6)


def test_binary_tensors_are_answered_in_json_where_nothing_else_is_asked_for(serving, sealed):
    plain, refused_flag = ask(
        serving,
        ("POST", INFER, binary()),
        (
            "POST",
            INFER,
            binary(
                parameters={"binary_data_output": True},
                outputs=[{"name": "logits", "parameters": {"binary_data": False}}],
            ),
        ),
    )

    for answer in (plain, refused_flag):
        output = answer.json()["outputs"][0]
        np.testing.assert_allclose(
            np.reshape(output["data"], (2, 2)), expected_logits(sealed), atol=1e-6
        )


@pytest.mark.parametrize(
    "options",
    [
        binary(surplus=b"\0"),
        binary(lacking=1),
        binary(lacking=60),
        binary(datatype="FP32"),
        binary() | {"headers": {}},
        *(
            binary() | {"headers": {"inference-header-content-length": length}}
            for length in ("-5", "0", "5", "99999", "x", "1.5")
        ),
    ],
)
def test_binary_tensors_that_are_not_as_announced_are_refused(serving, options):
    (answer,) = ask(serving, ("POST", INFER, options))

    assert answer.status_code == 400
    assert list(answer.json()) == ["error"]
