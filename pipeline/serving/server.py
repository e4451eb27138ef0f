"""A server from start to graceful stop.

On SIGTERM it reports that it is not ready and closes each connection after its answer. It stops
when no connection is left or its time is over. With an inherited socket it stops accepting at once,
because the other holder of the socket takes the waiting clients. With its own socket it accepts for
a moment longer, because load balancers need that. SIGINT stops without that moment.
"""

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator
from functools import partial

import uvicorn

from pipeline.errors import InputError
from pipeline.inference.providers import provider_names
from pipeline.release.registry import check_name
from pipeline.serving.application import make_application
from pipeline.serving.connection import Connection
from pipeline.serving.grpc_server import start_grpc
from pipeline.serving.memory import return_large_blocks
from pipeline.serving.metrics import ServerMetrics
from pipeline.serving.protocol import Plane, Student
from pipeline.serving.settings import ServeSettings
from pipeline.serving.slots import Slot, follow, install, load_fixed, make_slot
from pipeline.serving.watch import sightings

logger = logging.getLogger(__name__)


def serve(settings: ServeSettings) -> None:
    """Serve until a signal stops it.

    Raises:
        InputError: when there is nothing to serve, or the address is taken.
    """
    for name in (*settings.champions, *settings.bundles):
        check_name(name)
    if not settings.champions and not settings.bundles:
        raise InputError("Nothing to serve. Give a student's name, or --bundle NAME=FOLDER.")
    provider_names(settings.provider)  # a missing one is refused before the port is taken
    _log_as_json()
    # A pool of tokenizers' threads would let a short text wait for all long ones before it.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    return_large_blocks()
    with _listen(settings) as listening:
        asyncio.run(_serve(settings, listening))


async def _serve(settings: ServeSettings, listening: socket.socket) -> None:
    metrics = ServerMetrics(settings.provider)
    slots = [
        make_slot(name, settings, metrics) for name in (*settings.champions, *settings.bundles)
    ]
    plane = Plane([Student(slot, settings) for slot in slots])
    for slot in slots:
        if slot.name in settings.bundles:
            bundle = settings.bundles[slot.name]
            served = load_fixed(bundle, threads=settings.threads, provider=settings.provider)
            install(slot, served, metrics)
    app = make_application(plane, settings, metrics)
    server = _Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            http=partial(Connection, settings=settings),  # type: ignore[arg-type] # it is called
            ws="none",
            timeout_keep_alive=settings.keep_alive_s,
        )
    )
    tasks = [asyncio.create_task(slot.batcher.run()) for slot in slots]
    tasks += _follow(slots, settings, metrics)
    grpc, grpc_port = None, None
    if settings.grpc_port is not None:
        grpc, grpc_port = await start_grpc(plane, settings, metrics)
    _stop_on_signals(server, plane, settings)
    host, port = listening.getsockname()[:2]
    logger.info("listening", extra={"facts": {"host": host, "port": port, "grpc_port": grpc_port}})
    await server.serve(sockets=[listening])
    if grpc is not None:
        await grpc.stop(settings.drain_s)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for slot in slots:
        slot.batcher.close()
    logger.info("stopped")


class _Server(uvicorn.Server):
    """Uvicorn, whose signals are ours."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _follow(
    slots: list[Slot], settings: ServeSettings, metrics: ServerMetrics
) -> list["asyncio.Task[None]"]:
    if not settings.champions:
        return []
    following = {slot.name: slot for slot in slots if slot.name in settings.champions}
    seen = sightings(
        settings.champions, settings.registry, settings.runs_dir.resolve(), settings.poll_s
    )
    return [asyncio.create_task(follow(following, seen, settings, metrics))]


def _stop_on_signals(server: _Server, plane: Plane, settings: ServeSettings) -> None:
    loop = asyncio.get_running_loop()
    draining: list[asyncio.Task[None]] = []

    def stop(*, at_once: bool) -> None:
        if draining:
            return
        logger.info("stopping")
        draining.append(loop.create_task(_drain(server, plane, settings, at_once=at_once)))

    loop.add_signal_handler(signal.SIGTERM, lambda: stop(at_once=False))
    loop.add_signal_handler(signal.SIGINT, lambda: stop(at_once=True))


async def _drain(server: _Server, plane: Plane, settings: ServeSettings, *, at_once: bool) -> None:
    plane.is_draining = True
    if settings.fd is None and not at_once:
        await asyncio.sleep(settings.drain_s)
    for listener in server.servers:
        listener.close()
    end = asyncio.get_running_loop().time() + settings.drain_s
    while server.server_state.connections and asyncio.get_running_loop().time() < end:
        if at_once and not server.server_state.tasks:
            break
        await asyncio.sleep(0.02)
    server.should_exit = True


@contextlib.contextmanager
def _listen(settings: ServeSettings) -> Iterator[socket.socket]:
    """Give the listening socket: the inherited one, or a new one on host and port."""
    try:
        if settings.fd is not None:
            listening = socket.socket(fileno=settings.fd)
        else:
            listening = socket.create_server(
                (settings.host, settings.http_port), backlog=2048, reuse_port=False
            )
    except OSError as error:
        where = (
            f"file descriptor {settings.fd}"
            if settings.fd is not None
            else (f"{settings.host}:{settings.http_port}")
        )
        raise InputError(
            f"Cannot listen on {where}: {error.strerror}. Choose another --port or --host."
        ) from error
    with listening:
        listening.setblocking(False)
        # Accepted connections inherit it: an answer must not wait for an acknowledgement.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield listening


class _JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return time, level, event and the event's facts."""
        line = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "facts", {}),
        }
        if record.exc_info:
            line["fault"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def _log_as_json() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("pipeline").setLevel(logging.INFO)
    # A line for each request that cannot be parsed would let any client fill the log.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    # Their loggers write tracebacks for requests that are answered as they should be.
    for name in ("kserve", "grpc"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
