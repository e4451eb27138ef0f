"""Whatever ends a command, nothing of it survives: each command and signal, on real processes."""

import contextlib
import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import psutil
import pytest
from support.installations import COMMANDS as SERVICES
from support.prefect_api import free_port

from flows.cli.main import COMMANDS, STARTING_PROCESSES
from flows.up.installation import missing_services

pytestmark = pytest.mark.xdist_group("survivors")

MARK = "TEST_OF_SURVIVORS"
SIGNALS = ("INT", "TERM", "HUP", "KILL")
WAYS = ("terminal", "background")
STARTED = {
    "run": ("uvicorn", "spawn_main"),
    "sweep": ("uvicorn", "spawn_main"),
    "compare": ("uvicorn", "spawn_main"),
    "serve": ("pipeline.serving.watch",),
    "up": tuple(words for name, words in SERVICES.items() if name not in missing_services()),
    "benchmark": ("pipeline.timing.time_",),
    "predict": ("main predict",),
}
"""Words of the processes that a command has started when it is ended; predict starts none."""
QUICK = {("predict", "INT", "background"), ("serve", "KILL", "background")}
CELLS = [
    pytest.param(*cell, marks=[] if cell in QUICK else pytest.mark.slow)
    for cell in ((c, s, w) for c in STARTED for s in SIGNALS for w in WAYS)
]


def test_the_table_holds_every_command_that_starts_processes():
    assert {*STARTING_PROCESSES, "predict"} == set(STARTED)
    assert set(STARTED) <= set(COMMANDS)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder that all cells share: Prefect's database is made once."""
    return tmp_path_factory.mktemp("survivors")


@pytest.fixture
def arguments(home, request):
    """``arguments(command)``: what it is given, so that it works until it is ended."""

    def config():
        return [
            "configs/smoke.toml",
            *(f"--set={each}" for each in request.getfixturevalue("smoke_overrides")),
            f"--set=runs_dir={home / 'runs'}",
        ]

    def up():
        ports = [f"--{name}-port={free_port()}" for name in ("server", "mlflow", "worker")]
        return [f"--state={home / 'state'}", *ports, f"--student-port={free_port()}"]

    def bundles():
        write_bundle = request.getfixturevalue("write_bundle")
        for name in ("plain", "student"):
            if not (home / name).exists():
                write_bundle(home / name)
        return [home / "plain", home / "student", "--seconds=600"]

    given = {
        "serve": lambda: ["demo", "--port=0", f"--runs-dir={home / 'none'}"],
        "up": up,
        "benchmark": bundles,
        "predict": lambda: [home, "-"],
    }
    return lambda command: list(map(str, given.get(command, config)()))


@contextlib.contextmanager
def started(command, way, home, errors):
    """Start a command in a terminal of its own, or as a script starts a background job.

    Yields its process, and the end of the terminal that a user sees.
    """
    environment = os.environ | {
        MARK: str(time.time_ns()),
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_API_URL": "",
        "MLFLOW_TRACKING_URI": f"sqlite:///{home / 'mlflow.db'}",
    }
    whole = [sys.executable, "-m", "flows.cli.main", *command]
    ours, theirs = pty.openpty()
    reading, writing = os.pipe()
    process = subprocess.Popen(
        whole,
        env=environment,
        stdin=theirs if way == "terminal" else reading,
        stdout=errors,
        stderr=errors,
        start_new_session=True,
        preexec_fn=_take_terminal if way == "terminal" else _ignore_interrupts,
    )
    os.close(theirs)
    os.close(reading)
    try:
        yield environment[MARK], process, ours
    finally:
        for each in marked(environment[MARK]):
            with contextlib.suppress(psutil.Error):
                each.kill()
        process.wait(30)
        for end in (ours, writing):
            with contextlib.suppress(OSError):
                os.close(end)


def _ignore_interrupts():
    """Do what a shell without job control does to its background jobs."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ignored where the tests run under nohup
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _take_terminal():
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def marked(mark):
    """Return the processes that inherited a mark, and still run."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            is_ended = process.status() == psutil.STATUS_ZOMBIE
            if process.environ().get(MARK) == mark and not is_ended:
                found.append(process)
    return found


def shown(processes):
    """Return the command lines of processes."""
    lines = []
    for process in processes:
        with contextlib.suppress(psutil.Error):
            lines.append(" ".join(process.cmdline()))
    return lines


@pytest.mark.parametrize(("command", "name", "way"), CELLS)
def test_nothing_survives(arguments, home, wait_for, tmp_path, command, name, way):
    log = tmp_path / "said.log"
    with (
        log.open("wb") as said,
        started([command, *arguments(command)], way, home, said) as (mark, process, terminal),
    ):
        wait_for(
            lambda: (
                process.poll() is not None
                or all(
                    any(part in line for line in shown(marked(mark))) for part in STARTED[command]
                )
            )
        )
        assert process.poll() is None, log.read_text()
        leader = next(p for p in marked(mark) if f"flows.cli.main {command}" in shown([p])[0])
        wait_for(lambda: hears(leader, signal.SIGTERM))
        end(leader, name, way, terminal)

        wait_for(lambda: marked(mark) == [], seconds=60)
    assert "Traceback" not in log.read_text()


def hears(process, number):
    """Tell whether a process has a handler for a signal: before, it is still starting."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt"))
    return int(caught.split()[1], 16) >> (number - 1) & 1


def end(leader, name, way, terminal):
    """End a command as a user does: Ctrl-C and closing the window in a terminal, else kill."""
    if way == "terminal" and name == "INT":
        os.write(terminal, b"\x03")
    elif way == "terminal" and name == "HUP":
        os.close(terminal)
    else:
        leader.send_signal(getattr(signal, f"SIG{name}"))
