"""The repository's index over REST and gRPC, in the bytes that Triton's clients send and read."""

import asyncio

import grpc
from support.serving_requests import ask

from pipeline.serving.grpc_server import start_grpc
from pipeline.serving.settings import ServeSettings

INDEX = "/inference.GRPCInferenceService/RepositoryIndex"
REST = "/v2/repository/index"
# Field 1, length-delimited, of the response: one model, whose fields 1 to 3 are strings.
MODEL = b"\x0a\x04tiny\x12\x010\x1a\x05READY"


def call(serving, *requests, empty=False):
    """Return the answer's bytes, or the fault's code, of each request's bytes."""

    async def run():
        found = []
        async with serving() as (_, plane, metrics):
            if empty:
                plane.models["tiny"].slot.served = None
            server, port = await start_grpc(plane, ServeSettings(grpc_port=0), metrics)
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                for request in requests:
                    try:
                        found.append(await channel.unary_unary(INDEX)(request))
                    except grpc.RpcError as error:
                        found.append((error.code().name, error.details()))
            await server.stop(None)
            return found

    return asyncio.run(run())


def test_grpc_lists_each_model_with_version_and_state(serving):
    every, ready = call(serving, b"", b"\x10\x01")

    assert every == b"\x0a" + bytes([len(MODEL)]) + MODEL
    assert ready == every


def test_models_that_are_not_loaded_are_left_out_on_request(serving):
    every, ready = call(serving, b"", b"\x10\x01", empty=True)

    assert b"UNAVAILABLE" in every
    assert ready == b""


def test_another_repository_is_refused(serving):
    ((code, message),) = call(serving, b"\x0a\x01x")

    assert code == "INVALID_ARGUMENT"
    assert "leave repository_name empty" in message


def test_rest_heeds_ready_and_an_empty_body(serving):
    answers = ask(
        serving,
        ("POST", REST, {}),
        ("POST", REST, {"json": {}}),
        ("POST", REST, {"json": {"ready": True}}),
        ("POST", REST, {"json": {"ready": "perhaps"}}),
    )

    assert [each.status_code for each in answers] == [200, 200, 200, 422]
    assert all(each.json()[0]["name"] == "tiny" for each in answers[:3])
