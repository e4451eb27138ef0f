"""A child process that builds stages, so that a trainer can die without its flow run.

The child is started at the first build, or earlier by a caller that has to wait anyway. It is kept
for the next builds, so torch is imported once. It leads its own session, with every process that it
starts. It ends when its parent closes the connection or dies; a pipe that only the parent holds
open shows that. On an exception, a cancellation included, the parent kills the whole session.
Builds, results and log records go over one connection between the two processes.
"""

import contextlib
import importlib
import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from pipeline.errors import ProjectError
from pipeline.workers.heartbeat import heartbeat
from pipeline.workers.importing import without_collection
from pipeline.workers.threads import limit_threads

Facts = TypeVar("Facts")

_LOGGER = "pipeline"
_SECONDS_TO_LEAVE = 10.0


class BuildKilledError(ProjectError, RuntimeError):
    """The child died while it built: trying again goes on from its last checkpoint."""


class BuildProcess:
    """Runs builds in a child process, one after another. Use it in a ``with`` statement."""

    def __init__(self) -> None:
        self._process: Any = None  # a SpawnProcess, which the stubs do not name
        self._connection: Connection | None = None
        self._has_built = False

    @property
    def pid(self) -> int | None:
        """The child's process id; None while there is none."""
        return self._process.pid if self._process is not None else None

    def __enter__(self) -> Self:
        """Start nothing yet: where every stage is finished, no child is needed."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        """Let a child that has built leave by itself after success, and kill its session else."""
        if self._connection is not None:
            self._connection.close()
        if self._process is not None and self._has_built and kind is None:
            self._process.join(_SECONDS_TO_LEAVE)
        self._end()

    def start(self, imports: Sequence[str] = ()) -> None:
        """Start the child where there is none, and let it import modules while its parent goes on.

        Its first build starts it, too.
        """
        self._start(imports)

    def run(self, name: str, build: Callable[[Path], Facts], folder: Path) -> Facts:
        """Return ``build(folder)``, computed in the child; its log records are handled here.

        Args:
            name: Name of the stage, for messages.
            build: Something that can be sent to a new process, such as a partial of a function.
            folder: The folder that it fills.

        Raises:
            BuildKilledError: when the child died.
            Exception: what ``build`` raised.
        """
        try:
            return self._run(name, build, folder)
        except BaseException:
            self._end()
            raise

    def _run(self, name: str, build: Callable[[Path], Facts], folder: Path) -> Facts:
        connection = self._start()
        self._has_built = True
        try:
            connection.send((name, build, folder))
            while True:
                # A wait without end could not be interrupted where a signal comes to a thread.
                if not connection.poll(1.0):
                    continue
                kind, value = connection.recv()
                if kind == "log":
                    handle_record(value)
                elif kind == "failed":
                    raise value
                else:
                    result: Facts = value
                    return result
        except (EOFError, ConnectionError) as error:
            raise BuildKilledError(_why_killed(name, self._exit_code())) from error

    def _start(self, imports: Sequence[str] = ()) -> Connection:
        """Return the connection to the child, which is started where there is none."""
        if self._connection is None:
            context = multiprocessing.get_context("spawn")
            ours, theirs = context.Pipe()
            self._process = context.Process(target=_serve, args=(theirs, imports), name="build")
            # The child inherits this: the parent decides what an interrupt ends.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                self._process.start()
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
            theirs.close()  # so that the child's death ends what we read
            self._connection = ours
        return self._connection

    def _exit_code(self) -> int | None:
        self._process.join(_SECONDS_TO_LEAVE)
        code: int | None = self._process.exitcode
        return code

    def _end(self) -> None:
        """Kill the child and whatever it started; wait until it is gone."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.kill()
            self._process.join()
        self._process, self._connection = None, None


_prepared: ContextVar[BuildProcess | None] = ContextVar("prepared", default=None)


@contextlib.contextmanager
def prepared_child(imports: Sequence[str]) -> Iterator[None]:
    """Start a child for what is built inside the block, before it is needed; it imports modules."""
    with BuildProcess() as process:
        process.start(imports)
        token = _prepared.set(process)
        try:
            yield
        finally:
            _prepared.reset(token)


@contextlib.contextmanager
def build_process() -> Iterator[BuildProcess]:
    """Yield the child that is prepared; else a new one, which ends with the block."""
    prepared = _prepared.get()
    if prepared is not None:
        yield prepared
        return
    with BuildProcess() as process:
        yield process


def _why_killed(name: str, code: int | None) -> str:
    how = f"exit code {code}"
    if code is not None and code < 0:
        how = signal.Signals(-code).name
        if -code == signal.SIGKILL:
            how += "; if nobody sent it, the machine ran out of memory"
    return (
        f"The process that built the stage {name} died ({how}). Its checkpoints are kept: run "
        "again to continue from the last one. Set a smaller batch_size if memory ran out."
    )


def handle_record(record: logging.LogRecord) -> None:
    """Give a record of the child to the loggers of this process."""
    target = logging.getLogger(record.name)
    if target.isEnabledFor(record.levelno):
        target.handle(record)


class RecordSender(logging.Handler):
    """Sends log records to the parent."""

    def __init__(self, send: Callable[[tuple[str, object]], None]) -> None:
        super().__init__()
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record with its message put together: arguments stay in the child."""
        record.msg, record.args = record.getMessage(), None
        record.exc_info = None
        self._send(("log", record))


def _serve(connection: Connection, imports: Sequence[str]) -> None:
    """Import modules, then build what comes over the connection until it is closed."""
    with contextlib.suppress(PermissionError):
        os.setsid()
    threading.Thread(target=_follow_parent, daemon=True).start()
    limit_threads()  # before anything is imported that starts some
    lock = threading.Lock()

    def send(message: tuple[str, object]) -> None:
        with lock:
            connection.send(message)

    with without_collection():
        for module in imports:
            importlib.import_module(module)
    # Imported here: the parent may not need it.
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    logger = logging.getLogger(_LOGGER)
    logger.setLevel(logging.INFO)
    logger.addHandler(RecordSender(send))
    logger.propagate = False
    while True:
        try:
            name, build, folder = connection.recv()
        except EOFError:
            return
        try:
            with heartbeat(name):
                result = ("done", build(folder))
        except Exception as error:
            result = ("failed", sendable(error))
        send(result)


def _follow_parent() -> None:
    """Kill this process and whatever it started as soon as its parent is dead."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os.killpg(os.getpgrp(), signal.SIGKILL)


def sendable(error: Exception) -> Exception:
    """Return an error that reaches the parent as what it is, where a caller acts on its kind."""
    if isinstance(error, ProjectError | OSError | RuntimeError):
        return error
    return RuntimeError(f"{type(error).__name__}: {error}")
