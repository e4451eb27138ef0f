"""A small process that waits for a command's end, and ends the processes that it left running.

A killed command cannot stop its processes, but its guardian can. The guardian holds one end of a
pipe that closes when the command ends, in whatever way. It finds the processes by a mark in their
environment. Children inherit the mark, in every session.

This module run as a script is the guardian. psutil is imported when there is a process to end.
"""

import os
import signal
import sys
import time
from typing import Any

_MARK = "ADAPTER_DISTILL_COMMAND"
_SECONDS_TO_END = 10.0
_LOOK_EVERY_S = 0.2


def start_guardian() -> None:
    """Let nothing that this process starts from now on outlive it."""
    mark = f"{_MARK}_{os.getpid()}_{time.time_ns()}"
    unmarked = dict(os.environ)
    os.environ[mark] = "1"
    reading, writing = os.pipe()  # the writing end stays open, here alone, until this process ends
    try:
        os.posix_spawn(
            sys.executable,
            [sys.executable, "-P", __file__, mark],
            unmarked,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, reading, 0),
                (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
            ],
            setsigmask=(),
        )
    except OSError:  # without its guardian a command still ends what it can
        os.close(writing)
    finally:
        os.close(reading)


def _guard(mark: str) -> None:
    """Wait until the command has ended; then end every process with its mark, politely first."""
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # it must outlive the command
    os.chdir("/")
    while os.read(0, 1024):
        pass
    deadline, asked = time.monotonic() + _SECONDS_TO_END, set()
    while left := _marked(mark):
        for process in left:
            if time.monotonic() > deadline:
                process.kill()
            elif process.pid not in asked:
                asked.add(process.pid)
                process.terminate()
        time.sleep(_LOOK_EVERY_S)


def _marked(mark: str) -> list[Any]:  # Any: psutil.Process, imported late
    """Return the running processes that inherited a mark."""
    import psutil

    found = []
    for process in psutil.process_iter():
        try:
            if mark in process.environ() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):  # it has ended, or is another user's
            continue
    return found


if __name__ == "__main__":
    _guard(sys.argv[1])
