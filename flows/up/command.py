"""`adapter-distill up`: the whole installation on this machine, without Docker.

Prefect server, MLflow, worker, deployments and student server as child processes on loopback, with
their state in one folder. A service that ends by itself is restarted, and each
start is reported with its address.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

import typer
from filelock import FileLock, Timeout
from rich.console import Console

from flows.names import slots
from flows.up import services
from flows.up.installation import Ports, list_services, missing_services, shared_environment
from flows.up.services import Service
from flows.up.supervision import Running, supervise
from pipeline.errors import InputError
from pipeline.workers.heartbeat import heartbeat


def up(
    state: Annotated[
        Path, typer.Option(help="Folder for databases, logs, runs and finished stages.")
    ] = Path("state"),
    students: Annotated[
        list[str] | None,
        typer.Option("--student", help="Student whose champion is served; may be repeated."),
    ] = None,
    server_port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port of the Prefect server and its UI.")
    ] = 4200,
    mlflow_port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port of MLflow and its UI.")
    ] = 5000,
    student_port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port of the student server.")
    ] = 8000,
    worker_port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port of the worker's health check.")
    ] = 8090,
) -> None:
    """Start Prefect, MLflow, a worker and the student server here; Ctrl-C stops them all."""
    from pipeline.release.registry import check_name

    console = Console(soft_wrap=True, markup=False, highlight=False)
    state = state.resolve()
    ports = Ports(server=server_port, mlflow=mlflow_port, worker=worker_port, student=student_port)
    served = list(dict.fromkeys(students or ["demo", "first-run"]))
    for name in served:
        check_name(name)
    slots()
    first, then = list_services(state, ports, served)
    services.check_ports([*first, *then])
    for folder in (state / "logs", state / "runs" / "mlartifacts"):
        folder.mkdir(parents=True, exist_ok=True)
    with _alone_in(state):
        _run(first, then, state, shared_environment(state, ports), console)


def _run(
    first: list[Service],
    then: list[Service],
    state: Path,
    environment: Mapping[str, str],
    console: Console,
) -> None:
    """Start everything in order, keep it running, and stop it at the end, whatever ends it."""
    logs = state / "logs"
    services.adopt_orphans()
    running: list[Running] = []
    try:
        _start(first, running, logs, console)
        console.print("registering the deployments ... (usually 20 s)")
        _bootstrap(environment, logs, console)
        _start(then, running, logs, console)
        _tell([*first, *then], state, console)
        supervise(running, logs, console.print)
    except KeyboardInterrupt:
        console.print("stopping ...")
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C must leave nothing over
        services.stop([each.process for each in running])
        services.end_orphans()


@contextlib.contextmanager
def _alone_in(state: Path) -> Iterator[None]:
    """Hold the state folder: two servers on one database would disturb each other's runs."""
    lock = FileLock(state / ".up.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(
            f"Another `adapter-distill up` uses {state}. Stop that one, or give another folder "
            "with --state."
        ) from None
    try:
        yield
    finally:
        lock.release()


def _start(listed: list[Service], running: list[Running], logs: Path, console: Console) -> None:
    """Start services side by side, wait until all of them answer, and say how far that is."""
    started = []
    for service in listed:
        console.print(f"starting {service.name} ... (usually {service.usual_s} s)")
        started.append(Running(service=service, process=services.start(service, logs)))
        running.append(started[-1])
    for each in started:
        log = logs / f"{each.service.name}.log"
        with heartbeat(f"starting {each.service.name}", say=console.print):
            services.wait_until_healthy(each.service, each.process, log)
        console.print(f"{each.service.name} answers after {time.monotonic() - each.since:.0f} s")


def _tell(listed: list[Service], state: Path, console: Console) -> None:
    """Say what there is, and what is left out."""
    for service in listed:
        if service.address is not None:
            console.print(f"{service.name}: {service.address}")
    for name, extra in missing_services().items():
        console.print(f"{name}: not installed; pip install 'adapter-distill[{extra}]' adds it")
    console.print(f"runs and logs: {state}")
    console.print("Ctrl-C stops everything.")


def _bootstrap(environment: Mapping[str, str], logs: Path, console: Console) -> None:
    """Bring the server up to date, and show what was done and what people's changes are left."""
    log = logs / "provision.log"
    with (
        log.open("wb") as errors,
        heartbeat("registering the deployments", say=console.print),
        subprocess.Popen(
            [sys.executable, "-m", "flows.server.provision", "--alone"],
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as provision,
    ):
        for line in provision.stdout or ():
            console.print(f"  {line.rstrip()}")
    if provision.returncode != 0:
        said = log.read_text("utf-8", "replace")
        raise InputError(f"The deployments could not be registered:\n{said[-3000:]}")
