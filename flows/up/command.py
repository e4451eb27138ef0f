"""`adapter-distill up`: the whole installation on this machine, without Docker.

Prefect server, MLflow, worker, deployments and student server as child processes on loopback, with
their state in one folder. What ends by itself is started again; what starts is told with its
address.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from filelock import FileLock, Timeout
from rich.console import Console

from flows.up import services
from flows.up.installation import Ports, list_services, missing_services, shared_environment
from flows.up.services import Service
from flows.up.supervision import Running, supervise
from pipeline.errors import InputError


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
        int, typer.Option(min=1, max=65535, help="Port of the server that answers with students.")
    ] = 8000,
    worker_port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port of the worker's health check.")
    ] = 8080,
) -> None:
    """Start Prefect, MLflow, a worker and the student server here; Ctrl-C stops them all."""
    console = Console(soft_wrap=True, markup=False, highlight=False)
    state = state.resolve()
    for folder in (state / "logs", state / "runs" / "mlartifacts"):
        folder.mkdir(parents=True, exist_ok=True)
    ports = Ports(server=server_port, mlflow=mlflow_port, worker=worker_port, student=student_port)
    first, then = list_services(state, ports, students or ["demo", "first-run"])
    for service in (*first, *then):
        services.check_port(service.name, service.port)
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
    # A polite end of this process stops its children as Ctrl-C does.
    signal.signal(signal.SIGTERM, _interrupt)
    services.adopt_orphans()
    running: list[Running] = []
    try:
        _start(first, running, logs, console)
        console.print("registering the deployments ...")
        _bootstrap(environment)
        _start(then, running, logs, console)
        _tell([*first, *then], state, console)
        supervise(running, logs, console.print)
    except KeyboardInterrupt:
        console.print("stopping ...")
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must leave nothing over
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
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
    """Start services side by side and wait until all of them answer."""
    started = []
    for service in listed:
        console.print(f"starting {service.name} ...")
        started.append(Running(service=service, process=services.start(service, logs)))
        running.append(started[-1])
    for each in started:
        log = logs / f"{each.service.name}.log"
        services.wait_until_healthy(each.service, each.process, log)


def _tell(listed: list[Service], state: Path, console: Console) -> None:
    """Say what there is, and what is left out."""
    for service in listed:
        if service.address is not None:
            console.print(f"{service.name}: {service.address}")
    for name, extra in missing_services().items():
        console.print(f"{name}: not installed; pip install 'adapter-distill[{extra}]' adds it")
    console.print(f"runs and logs: {state}")
    console.print("Ctrl-C stops everything.")


def _bootstrap(environment: Mapping[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "flows.server.provision"],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise InputError(f"The deployments could not be registered:\n{done.stderr[-3000:]}")


def _interrupt(_number: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt
