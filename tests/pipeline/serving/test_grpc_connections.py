"""Connections to the gRPC port that send little or nothing do not take it away from others."""

import asyncio
import contextlib

import grpc
import pytest

from pipeline.serving.grpc_server import start_grpc
from pipeline.serving.kserve_parts import messages, service
from pipeline.serving.settings import ServeSettings

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
SENT = {
    "nothing": b"",
    "half a preface": PREFACE[:10],
    "a preface": PREFACE,
    "another protocol": b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
    "no call": PREFACE + SETTINGS,
    "half a frame": PREFACE + SETTINGS + b"\x00\x10\x00\x00\x00\x00\x00\x00\x01abc",
}


@pytest.fixture
def listening(serving):
    """``async with listening(**settings) as port``: a gRPC server, without a process."""

    @contextlib.asynccontextmanager
    async def listening(**changes):
        async with serving(**changes) as (_, plane, metrics):
            server, port = await start_grpc(plane, ServeSettings(grpc_port=0, **changes), metrics)
            yield port
            await server.stop(None)

    return listening


async def is_live(port):
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = service.GRPCInferenceServiceStub(channel)
        return (await stub.ServerLive(messages.ServerLiveRequest(), timeout=20)).live


async def connect(port, sent):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    await writer.drain()
    return reader, writer


async def is_closed(reader):
    """Read what the server sends until it closes the connection."""
    with contextlib.suppress(ConnectionError):
        while await asyncio.wait_for(reader.read(65536), 20):
            pass
    return True


@pytest.mark.parametrize("sent", SENT.values(), ids=SENT)
def test_connection_that_does_not_go_on_is_closed(listening, sent):
    async def run():
        async with listening(head_s=0.5, body_s=0.5, keep_alive_s=1) as port:
            connections = [await connect(port, sent) for _ in range(20)]
            live = await is_live(port)
            closed = await asyncio.gather(*(is_closed(reader) for reader, _ in connections))
            for _, writer in connections:
                writer.close()
            return live, closed

    assert asyncio.run(run()) == (True, [True] * 20)


def test_more_connections_than_allowed_are_closed_and_the_first_ones_go_on(listening):
    async def run():
        async with listening(max_connections=4, head_s=60) as port:
            address = f"127.0.0.1:{port}"
            async with grpc.aio.insecure_channel(address) as channel:
                stub = service.GRPCInferenceServiceStub(channel)
                ask = lambda: stub.ServerLive(messages.ServerLiveRequest(), timeout=20)  # noqa: E731
                first = (await ask()).live
                crowd = [await connect(port, PREFACE + SETTINGS) for _ in range(12)]
                ended = await asyncio.wait(
                    [asyncio.ensure_future(is_closed(reader)) for reader, _ in crowd], timeout=3
                )
                again = (await ask()).live
                for _, writer in crowd:
                    writer.close()
                for task in ended[1]:
                    task.cancel()
            return first, again, len(ended[0])

    first, again, closed = asyncio.run(run())

    assert first
    assert again
    assert closed >= 8
