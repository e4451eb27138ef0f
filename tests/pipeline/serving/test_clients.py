"""Calls of the protocol's real clients: KServe's and Triton's."""

import asyncio
import contextlib
import json
import subprocess
import sys

import grpc
import numpy as np
import pytest
from support import triton_calls

from pipeline.inference.classifier import load_bundle
from pipeline.serving.grpc_server import start_grpc
from pipeline.serving.kserve_parts import InferInput, InferRequest, messages, service
from pipeline.serving.settings import ServeSettings

from kserve import InferenceGRPCClient, InferenceRESTClient, RESTConfig  # isort: skip # after its parts

IDS = np.array([[2, 5, 3], [2, 6, 3]])


@pytest.fixture
def grpc_stub(serving):
    """``async with grpc_stub(**settings) as (stub, address)``: gRPC, without a process."""

    @contextlib.asynccontextmanager
    async def grpc_stub(**settings):
        async with serving(**settings) as (_, plane, metrics):
            settings = ServeSettings(grpc_port=0, **settings)
            server, port = await start_grpc(plane, settings, metrics)
            address = f"127.0.0.1:{port}"
            async with grpc.aio.insecure_channel(address) as channel:
                yield service.GRPCInferenceServiceStub(channel), address
            await server.stop(None)

    return grpc_stub


@contextlib.asynccontextmanager
async def counting_relay(address, counted):
    """Relay connections to a server, and note what it sends."""

    async def pump(reader, writer, note):
        while data := await reader.read(65536):
            note.extend(data)
            writer.write(data)
        writer.close()

    async def relay(reader, writer):
        host, _, port = address.rpartition(":")
        inner_reader, inner_writer = await asyncio.open_connection(host, int(port))
        await asyncio.gather(
            pump(reader, inner_writer, bytearray()), pump(inner_reader, writer, counted)
        )

    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()


def infer_request(*, ids=IDS, is_binary=True, version="", outputs=()):
    request = messages.ModelInferRequest(model_name="tiny", model_version=version, id="42")
    for name, array in (("input_ids", ids), ("attention_mask", np.ones_like(ids))):
        tensor = request.inputs.add(name=name, datatype="INT64", shape=array.shape)
        if is_binary:
            request.raw_input_contents.append(array.astype("<i8").tobytes())
        else:
            tensor.contents.int64_contents.extend(array.ravel().tolist())
    for name in outputs:
        request.outputs.add(name=name)
    return request


def expected_logits(sealed):
    return load_bundle(sealed()).run({"input_ids": IDS, "attention_mask": np.ones_like(IDS)})


@pytest.mark.parametrize("is_binary", [True, False])
@pytest.mark.parametrize("is_packed", [True, False])
def test_grpc_answers_in_the_form_of_the_request(grpc_stub, sealed, is_binary, is_packed):
    async def run():
        async with grpc_stub() as (stub, _):
            return await stub.ModelInfer(
                infer_request(is_binary=is_binary, version="0", outputs=["logits"]),
                compression=grpc.Compression.Gzip if is_packed else None,
            )

    answer = asyncio.run(run())

    assert (answer.id, answer.model_version) == ("42", "0")
    numbers = (
        np.frombuffer(answer.raw_output_contents[0], "<f4")
        if is_binary
        else np.array(answer.outputs[0].contents.fp32_contents)
    )
    np.testing.assert_allclose(numbers.reshape(2, 2), expected_logits(sealed), atol=1e-6)


@pytest.mark.parametrize("compression", ["none", "deflate", "gzip"])
def test_grpc_answers_are_compressed_where_the_server_is_told_to(grpc_stub, compression):
    """A relay counts the bytes of an answer of 200 rows of equal numbers."""

    async def run():
        async with grpc_stub(grpc_compression=compression, max_texts=200) as (_, address):
            counted = bytearray()
            async with (
                counting_relay(address, counted) as relayed,
                grpc.aio.insecure_channel(relayed) as channel,
            ):
                stub = service.GRPCInferenceServiceStub(channel)
                answer = await stub.ModelInfer(infer_request(ids=np.repeat(IDS[:1], 200, 0)))
            return len(answer.raw_output_contents[0]), len(counted)

    numbers_bytes, sent_bytes = asyncio.run(run())

    assert numbers_bytes == 1600
    assert (sent_bytes < numbers_bytes) == (compression != "none")


def test_grpc_heeds_versions_outputs_and_ids(grpc_stub):
    ready, metadata = messages.ModelReadyRequest, messages.ModelMetadataRequest

    async def run():
        async with grpc_stub() as (stub, _):
            known = await stub.ModelMetadata(metadata(name="tiny", version="0"))
            is_ready = (await stub.ModelReady(ready(name="tiny", version="0"))).ready
            codes = []
            for call, request in (
                (stub.ModelReady, ready(name="tiny", version="7")),
                (stub.ModelReady, ready(name="none")),
                (stub.ModelMetadata, metadata(name="tiny", version="7")),
                (stub.ModelInfer, infer_request(version="7")),
                (stub.ModelInfer, infer_request(outputs=["nope"])),
                (stub.ModelInfer, infer_request(ids=IDS - 6)),
                (stub.ModelInfer, infer_request(ids=IDS + 1000)),
            ):
                with pytest.raises(grpc.RpcError) as fault:
                    await call(request)
                codes.append(fault.value.code().name)
            return known, is_ready, codes

    known, is_ready, codes = asyncio.run(run())

    assert (list(known.versions), known.platform, is_ready) == (["0"], "onnxruntime_onnx", True)
    assert codes == ["NOT_FOUND"] * 4 + ["INVALID_ARGUMENT"] * 3


def test_grpc_message_that_cannot_be_parsed_is_an_invalid_argument(serving):
    calls = ("ServerMetadata", "ModelReady", "ModelMetadata", "ModelInfer", "RepositoryIndex")

    async def run(**settings):
        async with serving(**settings) as (_, plane, metrics):
            settings = ServeSettings(grpc_port=0, **settings)
            server, port = await start_grpc(plane, settings, metrics)
            codes = {}
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                for name in (*calls, "NoSuchCall"):
                    send = channel.unary_unary(f"/inference.GRPCInferenceService/{name}")
                    with pytest.raises(grpc.RpcError) as fault:
                        await send(b"\xff\xff\xff")
                    codes[name] = fault.value.code().name
            await server.stop(None)
            return codes, metrics.registry.get_sample_value

    codes, sample = asyncio.run(run())
    closed, _ = asyncio.run(run(token="a token of some length"))

    assert codes == dict.fromkeys(calls, "INVALID_ARGUMENT") | {"NoSuchCall": "UNIMPLEMENTED"}
    assert set(closed.values()) == {"UNAUTHENTICATED", "UNIMPLEMENTED"}
    labels = {"route": "/inference.GRPCInferenceService/ModelInfer", "status": "INVALID_ARGUMENT"}
    assert sample("distill_request_seconds_count", labels) == 1


def test_grpc_calls_are_counted_and_logged_as_those_of_rest(serving, caplog):
    caplog.set_level("INFO", logger="pipeline")
    prefix = "/inference.GRPCInferenceService/"

    async def run():
        async with serving() as (_, plane, metrics):
            server, port = await start_grpc(plane, ServeSettings(grpc_port=0), metrics)
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                stub = service.GRPCInferenceServiceStub(channel)
                await stub.ModelInfer(infer_request())
                for _ in range(3):
                    await stub.ServerReady(messages.ServerReadyRequest())
                with pytest.raises(grpc.RpcError):
                    await stub.ModelInfer(infer_request(version="7"))
                with pytest.raises(grpc.RpcError) as large:
                    await stub.ServerLive(
                        messages.ServerLiveRequest(), metadata=[("big", "x" * 100_000)]
                    )
            await server.stop(None)
            return large.value.code(), metrics.registry.get_sample_value

    code, sample = asyncio.run(run())

    for name, status, count in (("ModelInfer", "OK", 1), ("ModelInfer", "NOT_FOUND", 1)):
        labels = {"route": prefix + name, "status": status}
        assert sample("distill_request_seconds_count", labels) == count
    lines = [each.facts for each in caplog.records if each.getMessage() == "request"]
    assert [(each["path"], each["status"]) for each in lines] == [
        (f"{prefix}ModelInfer", "OK"),
        (f"{prefix}ServerReady", "OK"),
        (f"{prefix}ModelInfer", "NOT_FOUND"),
    ]
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("is_binary", [True, False])
def test_kserves_clients_get_the_logits(serving, grpc_stub, sealed, is_binary):
    def asked():
        inputs = []
        for name, array in (("input_ids", IDS), ("attention_mask", np.ones_like(IDS))):
            inputs.append(InferInput(name, list(array.shape), "INT64"))
            inputs[-1].set_data_from_numpy(array, binary_data=is_binary)
        parameters = {"binary_data_output": is_binary}
        return InferRequest("tiny", inputs, request_id="42", parameters=parameters)

    async def over_rest():
        async with serving() as (client, _, __):
            config = RESTConfig(transport=client._transport, protocol="v2")
            rest = InferenceRESTClient(config)
            url = "http://test"
            states = [
                await rest.is_server_live(url),
                await rest.is_server_ready(url),
                await rest.is_model_ready(url, "tiny"),
                not await rest.is_model_ready(url, "none"),
            ]
            return states, await rest.infer(url, asked(), model_name="tiny")

    async def over_grpc():
        async with grpc_stub() as (_, address):
            client = InferenceGRPCClient(address)
            states = [
                await client.is_server_live(),
                await client.is_server_ready(),
                await client.is_model_ready("tiny"),
            ]
            answer = await client.infer(asked())
            await client.close()
            return states, answer

    for call in (over_rest, over_grpc):
        states, answer = asyncio.run(call())

        assert all(states)
        assert answer.id == "42"
        logits = answer.outputs[0].as_numpy()
        np.testing.assert_allclose(logits, expected_logits(sealed), atol=1e-6)


TRITON_FAULTS = {
    "http": ["404", "400", "400", "413"],
    "grpc": ["NOT_FOUND", "INVALID_ARGUMENT", "INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"],
}


def test_tritons_clients_get_the_logits_and_the_faults(sealed, start):
    server = start("--bundle", f"tiny={sealed()}", "--port", 0, "--grpc-port", 0)
    ports = server.wait_for("listening")
    expected = expected_logits(sealed)

    for kind, port in (("http", ports["port"]), ("grpc", ports["grpc_port"])):
        command = [sys.executable, triton_calls.__file__, kind, str(port)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found = json.loads(done.stdout)

        assert all(found["states"])
        for logits in found["logits"]:
            np.testing.assert_allclose(logits, expected, atol=1e-6)
        assert found["faults"] == TRITON_FAULTS[kind]
    assert server.stop() == 0
