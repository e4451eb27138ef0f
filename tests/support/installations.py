"""`adapter-distill up` under test: its processes by their command lines, and its API."""

import contextlib
import itertools
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
from support.prefect_api import Api, free_port, wait_for

from flows.up import services
from flows.up.installation import Ports, list_services, shared_environment
from pipeline.release.registry import Registry, open_registry

COMMANDS = {
    "server": "flows.server.embedded server start",
    "mlflow": "mlflow server",
    "worker": "prefect worker start",
    "student": "flows.cli.main serve",
}
"""Part of each service's command line."""


def is_gone(process: psutil.Process) -> bool:
    """Tell whether a process has ended, whether or not somebody has noticed."""
    try:
        return process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return True


def command_of(process: psutil.Process) -> str:
    """Return a process's command line; empty for one that has ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


@dataclass(kw_only=True)
class Installation(Api):
    """`adapter-distill up`, and the requests that the UI makes of its server."""

    up: psutil.Popen
    ports: Ports
    state: Path
    options: tuple[str, ...] = ()
    is_gone = staticmethod(is_gone)

    @property
    def registry(self) -> Registry:
        """The registry that all services share."""
        return open_registry(f"sqlite:///{self.state / 'runs' / 'mlflow.db'}", self.state)

    @property
    def environment(self) -> dict[str, str]:
        """The environment of its services."""
        return os.environ | shared_environment(self.state, self.ports)

    def wait_until_up(self) -> None:
        """Wait until `up` says that everything is there."""
        said = self.state / "up.log"
        wait_for(lambda: is_gone(self.up) or "Ctrl-C stops" in said.read_text(), seconds=400)
        assert not is_gone(self.up), said.read_text()

    def start_again(self) -> None:
        """Start `up` once more, on the same state and ports."""
        self.up = begin(self.state, self.ports, self.options)
        self.wait_until_up()

    def service(self, name: str) -> psutil.Process | None:
        """Return the process of a service; None while there is none."""
        children = self.up.children()
        return next((p for p in children if COMMANDS[name] in command_of(p)), None)

    def is_ready(self, name: str) -> bool:
        """Tell whether a service answers its health check."""
        listed = [*itertools.chain(*list_services(self.state, self.ports, ()))]
        return services.is_healthy(next(each for each in listed if each.name == name))

    def wait_for_return(self, name: str, gone: psutil.Process) -> None:
        """Wait until a service that ended was started again and answers."""
        wait_for(lambda: (new := self.service(name)) is not None and new.pid != gone.pid)
        wait_for(lambda: self.is_ready(name))

    def kill(self, process: psutil.Process) -> None:
        """Kill -9, and wait until the process is gone."""
        process.kill()
        wait_for(lambda: is_gone(process), seconds=30)

    def run_process(self) -> psutil.Process | None:
        """Return the process of the flow run that the worker runs now."""
        worker = self.service("worker")
        children = worker.children() if worker else []
        return next((p for p in children if "prefect" in command_of(p)), None)

    def trainer(self) -> psutil.Process | None:
        """Return the child in which that flow run builds its stages."""
        run = self.run_process()
        children = run.children() if run else []
        return next((p for p in children if "spawn_main" in command_of(p)), None)


@contextlib.contextmanager
def starting(state: Path, *options: str, **where: Path) -> Iterator[Installation]:
    """`adapter-distill up` on free ports, stopped by Ctrl-C when the block ends."""
    ports = Ports(server=free_port(), mlflow=free_port(), worker=free_port(), student=free_port())
    found = Installation(
        up=begin(state, ports, options, **where),
        ports=ports,
        state=state,
        options=options,
        # SQLite waits for a minute before the server says that it is busy.
        client=httpx.Client(base_url=f"http://127.0.0.1:{ports.server}/api", timeout=90),
    )
    children = []
    try:
        found.wait_until_up()
        yield found
        children = found.up.children(recursive=True) if not is_gone(found.up) else []
    finally:
        if not is_gone(found.up):
            found.up.send_signal(signal.SIGINT)
        found.up.wait(90)
    _, left = psutil.wait_procs(children, timeout=10)
    assert left == []


def begin(
    state: Path,
    ports: Ports,
    options: Sequence[str],
    *,
    python: Path = Path(sys.executable),
    folder: Path = Path(),
) -> psutil.Popen:
    """Start `adapter-distill up` with this Python in this folder; its output is ``up.log``."""
    listening = [f"--{name}-port={getattr(ports, name)}" for name in COMMANDS]
    command = [str(python), "-m", "flows.cli.main", "up", f"--state={state}"]
    with (state / "up.log").open("wb") as log:
        return psutil.Popen([*command, *listening, *options], stdout=log, stderr=log, cwd=folder)
