"""Limits of a connection, in bytes and seconds: raw sockets to a real listener."""

import asyncio
import contextlib
import json
from functools import partial

import pytest
import uvicorn

from pipeline.serving.connection import Connection
from pipeline.serving.settings import ServeSettings

BODY = b"x" * 200_000


async def application(scope, receive, send):
    """Answer with the length of the body; `/large` with more than fits into a socket."""
    length, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        length += len(message.get("body", b""))
        more = message.get("more_body", False)
    body = BODY * 100 if scope["path"] == "/large" else json.dumps(length).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@contextlib.asynccontextmanager
async def listening(**changes):
    """Give the port of a listener, and its open connections."""
    settings = ServeSettings(**changes)
    config = uvicorn.Config(
        application,
        port=0,
        lifespan="off",
        log_config=None,
        ws="none",
        http=partial(Connection, settings=settings),
        timeout_keep_alive=settings.keep_alive_s,
    )
    server = uvicorn.Server(config)
    server.capture_signals = contextlib.nullcontext
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1], server.server_state.connections
    server.should_exit = server.force_exit = True
    await serving


def talk(*parts, pause=0.0, **changes):
    """Send parts with pauses between them; return all that is answered until the end."""

    async def run():
        async with listening(**changes) as (port, _):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            with contextlib.suppress(ConnectionError):
                for part in parts:
                    writer.write(part)
                    await writer.drain()
                    await asyncio.sleep(pause)
            with contextlib.suppress(ConnectionError):
                return await asyncio.wait_for(reader.read(), 30)
            return b""

    return asyncio.run(run())


HEAD = b"POST / HTTP/1.1\r\nhost: x\r\n"


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n", b"414"),
        ([b"GET /" + b"a" * 9000, *[b"a" * 60_000] * 20], b"414"),
        (HEAD + b"a: " + b"b" * 40_000 + b"\r\n\r\n", b"431"),
        ([HEAD + b"a: ", *[b"b" * 60_000] * 20], b"431"),
        (HEAD + b"a: b\r\n" * 9000 + b"\r\n", b"431"),
        (b"a" * 40_000, b"400"),
        (b"\x16\x03\x01 no HTTP\r\n\r\n", b"400"),
        # Headers that follow a body, and extensions of chunks, which no length counts.
        (
            HEAD + b"transfer-encoding: chunked\r\n\r\n0\r\n" + b"a: b\r\n" * 40_000 + b"\r\n",
            None,
        ),
        ([HEAD + b"transfer-encoding: chunked\r\n\r\n1;", *[b"a" * 60_000] * 20], b"413"),
    ],
    ids=range(9),
)
def test_more_than_a_request_needs_is_refused_while_it_comes(request_, status):
    parts = [request_] if isinstance(request_, bytes) else request_

    answer = talk(*parts, b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n", max_body_bytes=10_000)

    if status is None:
        assert answer.count(b"HTTP/1.1 200") <= 1
    else:  # a client that sends on may lose the answer with the connection
        assert answer == b"" or answer.startswith(b"HTTP/1.1 " + status)
        assert b"200" not in answer


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [b"POST / HT"],
        [HEAD],
        [b"\r\n"] * 40,
        [HEAD, *[b"a: b\r\n"] * 40],
        [HEAD + b"content-length: 100\r\n\r\nabc"],
        [HEAD + b"content-length: 100\r\n\r\n", *[b"a"] * 40],
        [b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", *[b"\r\n"] * 40],
        [b"GET / HTTP/1.1\r\nhost: x\r\n\r\nPOST / HT"],
    ],
    ids=range(9),
)
def test_connections_of_slow_clients_end(parts):
    answer = talk(*parts, pause=0.05, head_s=0.5, body_s=0.5, keep_alive_s=1)

    begun = parts and parts[0].startswith(b"GET")
    assert answer.startswith(b"HTTP/1.1 200" if begun else b"HTTP/1.1 408") or answer == b""
    assert answer.count(b"HTTP/1.1 200") == (1 if begun and answer else 0)


def test_a_client_that_does_not_read_its_answer_is_left():
    async def run():
        async with listening(body_s=0.3) as (port, connections):
            _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
            writer.write(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n")
            await writer.drain()
            while not connections:
                await asyncio.sleep(0.01)
            async with asyncio.timeout(20):
                while connections:
                    await asyncio.sleep(0.05)

    asyncio.run(run())


def test_an_idle_connection_goes_for_a_new_one_and_a_busy_one_stays():
    async def run():
        async with listening(max_connections=3) as (port, connections):
            opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
            for _, writer in opened[1:]:  # a request in progress
                writer.write(HEAD + b"content-length: 4\r\n\r\nab")
            while sum(each.cycle is not None for each in connections) < 2:
                await asyncio.sleep(0.01)
            fourth = await asyncio.open_connection("127.0.0.1", port)
            closed = await asyncio.wait_for(opened[0][0].read(), 20)
            fourth[1].write(HEAD + b"content-length: 4\r\n\r\nab")
            while sum(each.cycle is not None for each in connections) < 3:
                await asyncio.sleep(0.01)
            fifth = await asyncio.open_connection("127.0.0.1", port)
            refused = await asyncio.wait_for(fifth[0].read(), 20)
            lines = []
            for reader, writer in (*opened[1:], fourth):
                writer.write(b"cd")
                lines.append(await asyncio.wait_for(reader.readline(), 20))
            return closed, refused, lines

    closed, refused, lines = asyncio.run(run())

    assert closed == b""
    assert refused.startswith(b"HTTP/1.1 503")
    assert lines == [b"HTTP/1.1 200 OK\r\n"] * 3


def test_requests_one_behind_the_other_are_answered():
    get = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
    post = HEAD + b"content-length: 5\r\n\r\n12345"
    last = b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n"

    answer = talk(get + post, post[:-2], post[-2:] + get, last, pause=0.05)

    assert answer.count(b"HTTP/1.1 200") == 5
