"""The processes of `adapter-distill up`: what they are, how they are started, watched and stopped.

Each leads a session of its own and gets a signal when this process dies, whatever it dies of. They
are stopped in the reverse order, politely first; what then is left of a session is killed.
"""

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from pipeline.errors import InputError

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # prctl(2)
_SECONDS_TO_START = 180.0
_SECONDS_TO_STOP = 15.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Service:
    """One process."""

    name: str
    command: Sequence[str]
    port: int
    health: str
    """URL that answers with status 200 once it is ready."""
    address: str | None
    """Address that a user opens; None where there is nothing to see."""
    usual_s: int
    """Usual time until it answers, in seconds, on two idle cores."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """In addition to this process's own."""


def check_ports(listed: Sequence[Service]) -> None:
    """Raise `InputError` where two services share a port, or another process listens on one.

    Everything that is wrong is named at once.
    """
    problems = []
    for number, service in enumerate(listed):
        shared = next((each for each in listed[:number] if each.port == service.port), None)
        if shared is not None:
            problems.append(
                f"--{shared.name}-port and --{service.name}-port are both {service.port}. Give "
                "each service a port of its own."
            )
        else:
            problems += _why_not_free(service.name, service.port)
    if problems:
        raise InputError("\n".join(problems))


def _why_not_free(name: str, port: int) -> list[str]:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            return [
                f"Port {port} for {name} cannot be used: {error.strerror}. Stop the program there "
                f"(ss -ltnp 'sport = :{port}' names it), or give another port with --{name}-port."
            ]
    return []


def start(service: Service, folder: Path) -> "subprocess.Popen[bytes]":
    """Start a service; what it says goes to ``folder/<name>.log``."""
    with (folder / f"{service.name}.log").open("ab") as log:
        return subprocess.Popen(
            service.command,
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env=os.environ | service.environment,
            cwd=folder.parent,
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,
        )


def wait_until_healthy(service: Service, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Return when a service answers.

    Raises:
        InputError: when it ends, or does not answer in time, with the last lines of its log.
    """
    deadline = time.monotonic() + _SECONDS_TO_START
    while not is_healthy(service):
        if process.poll() is not None or time.monotonic() > deadline:
            said = "\n".join(log.read_text("utf-8", "replace").splitlines()[-15:])
            how = "ended" if process.poll() is not None else "did not answer"
            raise InputError(f"{service.name} {how}. The last lines of {log}:\n{said}")
        time.sleep(0.3)


def is_healthy(service: Service) -> bool:
    """Return whether a service answers its health check."""
    try:
        with urllib.request.urlopen(service.health, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def stop(processes: Sequence["subprocess.Popen[bytes]"]) -> None:
    """Stop processes in the reverse order, with everything of their sessions."""
    for process in reversed(processes):
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_SECONDS_TO_STOP)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def adopt_orphans() -> None:
    """Become the parent of what children leave behind: a killed worker's flow run, for one."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def reap_orphans(known: Sequence["subprocess.Popen[bytes]"]) -> None:
    """Forget adopted processes that have ended; ``known`` are asked for by others."""
    pids = {process.pid for process in known}
    for child in psutil.Process().children():
        if child.pid not in pids and child.status() == psutil.STATUS_ZOMBIE:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child.pid, os.WNOHANG)


def end_orphans() -> None:
    """Kill every process that descends from this one, and wait until all are gone."""
    while left := psutil.Process().children(recursive=True):
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, timeout=_SECONDS_TO_STOP)


def _die_with_parent() -> None:
    """Ask the kernel for SIGTERM when the parent dies; runs in the new process."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
