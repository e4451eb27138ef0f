"""Questions over the text route and as tensors: predict's answers, and two outputs per token."""

import asyncio

import grpc
import numpy as np
import pytest
from support.serving_requests import IDS, TEXTS, ask, tensors
from support.tiny_models import BAD, GOOD, NEUTRAL

from pipeline.inference.classifier import load_bundle
from pipeline.serving.grpc_server import start_grpc
from pipeline.serving.kserve_parts import messages, service
from pipeline.serving.settings import ServeSettings
from pipeline.standalone.predict import predict

INFER = "/v2/models/tiny/infer"
NAMES = ["start_logits", "end_logits"]
LONG = " ".join([*GOOD.split(), *NEUTRAL.split(), *BAD.split()])
"""A context of several windows of the model's 16 tokens."""


def post(serving, path, body, **settings):
    (answer,) = ask(serving, ("POST", path, {"json": body}), kind="answers", **settings)
    return answer


@pytest.fixture(scope="module")
def expected(sealed):
    """Logits of two rows, (2, 3, 2)."""
    feeds = {"input_ids": np.array(IDS), "attention_mask": np.ones_like(IDS)}
    return load_bundle(sealed(kind="answers")).run(feeds)


@pytest.mark.parametrize("context", ["the film is good", LONG])
@pytest.mark.parametrize("as_fields", [True, False])
def test_answers_are_those_of_predict(serving, sealed, context, as_fields):
    pair = ("who saw it", context)
    body = {"question": pair[0], "context": pair[1]} if as_fields else pair

    answer = post(serving, TEXTS, {"texts": [body, body]})

    (theirs,) = predict(sealed(kind="answers"), [pair])
    assert answer.status_code == 200, answer.json()
    mine = answer.json()["predictions"][0]
    assert answer.json()["predictions"][1] == mine
    assert (mine["answer"], mine["start"], mine["end"]) == (
        theirs["answer"],
        theirs["start"],
        theirs["end"],
    )
    assert mine["answer"] == context[mine["start"] : mine["end"]]
    assert [each["answer"] for each in mine["candidates"]] == [
        each["answer"] for each in theirs["candidates"]
    ]
    assert mine["score"] == pytest.approx(theirs["score"], abs=1e-6)
    assert answer.json()["truncated"] == []  # long contexts are read in windows


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("who saw it", "takes pairs, found a single text"),
        (["the film " * 8, "good"], "at most"),
        ({"question": "who"}, "context"),
        ({"question": "who", "context": "good", "more": "x"}, "more"),
        ({"text": "who", "text_b": "good"}, "question"),
    ],
)
def test_another_form_of_question_is_refused(serving, text, said):
    answer = post(serving, TEXTS, {"texts": [text]})

    assert answer.status_code in (400, 422)
    assert said in str(answer.json())


def test_tensors_get_both_outputs(serving, expected):
    answer = post(serving, INFER, tensors())

    outputs = answer.json()["outputs"]
    assert [each["name"] for each in outputs] == NAMES
    for number, output in enumerate(outputs):
        assert (output["datatype"], output["shape"]) == ("FP32", [2, 3])
        found = np.array(output["data"]).reshape(2, 3)
        np.testing.assert_allclose(found, expected[..., number], atol=1e-6)


def test_one_output_alone_is_given_where_it_is_asked_for(serving, expected):
    answer = post(serving, INFER, tensors(outputs=[{"name": "end_logits"}]))

    (output,) = answer.json()["outputs"]
    assert output["name"] == "end_logits"
    np.testing.assert_allclose(np.array(output["data"]).reshape(2, 3), expected[..., 1], atol=1e-6)


def test_unknown_output_is_refused_by_name(serving):
    answer = post(serving, INFER, tensors(outputs=[{"name": "logits"}]))

    assert answer.status_code == 400
    assert "no output 'logits', only 'start_logits', 'end_logits'" in answer.json()["error"]


def test_metadata_names_both_outputs(serving):
    (answer,) = ask(serving, ("GET", "/v2/models/tiny", {}), kind="answers")

    found = [(each["name"], each["shape"]) for each in answer.json()["outputs"]]
    assert found == [(name, [-1, -1]) for name in NAMES]


@pytest.mark.parametrize("wanted", [[], ["end_logits"]])
def test_grpc_gives_the_same_tensors(serving, expected, wanted):
    async def run():
        async with serving(kind="answers") as (_, plane, metrics):
            server, port = await start_grpc(plane, ServeSettings(grpc_port=0), metrics)
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                stub = service.GRPCInferenceServiceStub(channel)
                answer = await stub.ModelInfer(infer_request(wanted))
            await server.stop(None)
            return answer

    answer = asyncio.run(run())

    assert [each.name for each in answer.outputs] == (wanted or NAMES)
    for output, raw in zip(answer.outputs, answer.raw_output_contents, strict=True):
        found = np.frombuffer(raw, "<f4").reshape(output.shape)
        np.testing.assert_allclose(found, expected[..., NAMES.index(output.name)], atol=1e-6)


def infer_request(wanted):
    request = messages.ModelInferRequest(model_name="tiny")
    for name, array in (("input_ids", np.array(IDS)), ("attention_mask", np.ones_like(IDS))):
        request.inputs.add(name=name, datatype="INT64", shape=array.shape)
        request.raw_input_contents.append(array.astype("<i8").tobytes())
    for name in wanted:
        request.outputs.add(name=name)
    return request
