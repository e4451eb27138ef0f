"""A stage in several processes of this machine, started by torch's elastic launcher as in torchrun.

Each process runs the whole stage. It reads the same inputs, computes its part of the rows, and
exchanges sums with the others (models/processes.py). The first one writes the result. Log records
return to the process that started the others. The death of one ends all; checkpoints stay.
"""

import functools
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, TypeVar, TypeVarTuple, cast

import torch.distributed as dist
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.launcher.api import LaunchConfig, elastic_launch
from transformers.utils import logging as transformers_logging

from models.processes import count_processes, exchange
from pipeline.errors import InputError, ProjectError
from pipeline.facts.compute import Compute
from pipeline.training.memory import is_out_of_memory
from pipeline.workers.child import BuildKilledError, RecordSender, handle_record, sendable
from pipeline.workers.threads import count_threads, thread_variables

Inputs = TypeVarTuple("Inputs")
Settings = TypeVar("Settings")
Facts = TypeVar("Facts")

_SECONDS_TO_BE_ENDED = 60.0
"""Seconds that a process waits to be ended after it lost another one."""


def in_processes(
    build: Callable[[*Inputs, Settings, Path], Facts],
) -> Callable[[*Inputs, Settings, Path], Facts]:
    """Return a stage's function that runs in as many processes as its settings say.

    The settings have a ``context`` with a ``compute``. A single process is this one.
    """
    # Any: the number of arguments is the stage's own.
    whole: Callable[..., Facts] = build

    @functools.wraps(build)
    def run(*arguments: Any) -> Facts:
        compute: Compute = arguments[-2].context.compute
        if count_processes() > 1:
            facts = whole(*arguments)
            exchange(None)  # no process continues before the first has written everything
            return facts
        if compute.processes == 1:
            return whole(*arguments)
        found: Facts = _launch(run, arguments, compute)
        return found

    return cast(Callable[[*Inputs, Settings, Path], Facts], run)


def _launch(build: Callable[..., Any], arguments: Sequence[Any], compute: Compute) -> Any:
    """Start the processes, and return the result of the first.

    Raises:
        BuildKilledError: when a process was killed.
        Exception: the error that the stage raised.
    """
    context = multiprocessing.get_context("spawn")
    pipes = [context.Pipe(duplex=False) for _ in range(compute.processes)]
    launch = elastic_launch(_config(compute.processes), _work)
    for name in ("torch.distributed.elastic", "torch.multiprocessing.spawn"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # the cause is reported below
    errors: list[Exception] = []
    # In a thread of its own, because the launcher would take over this process's signals.
    with ThreadPoolExecutor(1) as pool, _fewer_threads(compute.processes):
        running = pool.submit(launch, build, tuple(arguments), [theirs for _, theirs in pipes])
        running.add_done_callback(partial(_close, [theirs for _, theirs in pipes]))
        for kind, value in _messages([ours for ours, _ in pipes]):
            if kind == "log":
                handle_record(value)
            else:
                errors.append(value)
        try:
            return running.result()[0]
        except ChildFailedError as error:
            raise _cause(errors, error.failures) from None


def _config(processes: int) -> LaunchConfig:
    return LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",  # any free port
        local_addr="localhost",
        max_restarts=0,
    )


@contextmanager
def _fewer_threads(processes: int) -> Iterator[None]:
    """Divide this process's threads among the processes to start."""
    before = dict(os.environ)
    os.environ.update(thread_variables(max(1, count_threads() // processes)))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _close(pipes: Sequence[Connection], _: object) -> None:
    for pipe in pipes:
        pipe.close()


def _messages(pipes: list[Connection]) -> Iterator[tuple[str, Any]]:
    """Yield messages from pipes, until all pipes are closed."""
    while pipes:
        ready = wait(pipes)
        for pipe in [each for each in pipes if each in ready]:
            try:
                yield pipe.recv()
            except EOFError:
                pipes.remove(pipe)


def _cause(errors: Sequence[Exception], failures: dict[int, ProcessFailure]) -> Exception:
    """Return the error for the end of the processes, from a message, an error or a signal."""
    ordered = sorted(errors, key=lambda error: not isinstance(error, ProjectError))
    if ordered:
        return ordered[0]
    first = min(failures.values(), key=lambda failure: failure.timestamp)
    how = f"exit code {first.exitcode}"
    if first.exitcode < 0:
        how = signal.Signals(-first.exitcode).name
    return BuildKilledError(
        f"Process {first.local_rank} of those that share the stage died ({how}), and the others "
        "were ended. Checkpoints are kept: run again to continue from the last one. Set fewer "
        "compute.processes if memory ran out."
    )


def _work(build: Callable[..., Any], arguments: tuple[Any, ...], pipes: list[Connection]) -> Any:
    """Run a stage in one of the processes; the first one returns its facts."""
    threading.Thread(target=_follow_parent, daemon=True).start()
    *inputs, settings, out = arguments
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo" if sys.platform == "linux" else "lo0")
    is_cuda = settings.context.compute.is_cuda
    dist.init_process_group("cpu:gloo,cuda:nccl" if is_cuda else "gloo")
    number = dist.get_rank()
    pipe = pipes[number]
    for other in pipes[:number] + pipes[number + 1 :]:
        other.close()
    try:
        _set_up_logs(pipe, number)
        facts = build(*inputs, _on_own_device(settings, number), out)
        dist.destroy_process_group()
    except Exception as error:
        if _is_lost_peer(error):
            time.sleep(_SECONDS_TO_BE_ENDED)  # the one that died is the cause, and its end ends all
        pipe.send(("failed", _readable(error)))
        pipe.close()
        os._exit(1)  # without a traceback: the process that started this one reports the cause
    return facts if number == 0 else None


def _on_own_device(settings: Any, number: int) -> Any:
    """Return settings with the process's own GPU as device, if there are GPUs."""
    compute = settings.context.compute
    if not compute.is_cuda:
        return settings
    compute = replace(compute, device=f"cuda:{number}")
    return replace(settings, context=replace(settings.context, compute=compute))


def _set_up_logs(pipe: Connection, number: int) -> None:
    """Send log records to the starting process, all from the first, warnings from the others."""
    transformers_logging.disable_progress_bar()
    logger = logging.getLogger("pipeline")
    logger.setLevel(logging.INFO if number == 0 else logging.ERROR)
    logger.addHandler(RecordSender(pipe.send))
    logger.propagate = False


def _is_lost_peer(error: Exception) -> bool:
    """Return whether an error comes from the end of another process."""
    said = str(error).lower()
    return isinstance(error, dist.DistError) or "gloo" in said or "nccl" in said


def _readable(error: Exception) -> Exception:
    if is_out_of_memory(error):
        return InputError(
            "The memory of one of several processes ran out. Lower the stage's batch_size, or "
            "compute.processes."
        )
    return sendable(error)


def _follow_parent() -> None:
    """Have the system kill this process as soon as the process that started it is dead."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os.kill(os.getpid(), signal.SIGKILL)
