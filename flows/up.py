"""`adapter-distill up`: the whole installation on this machine, without Docker.

Server, worker and deployments as child processes on loopback, with their state in one folder.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from flows import services
from flows.services import Service
from pipeline.errors import InputError


def up(
    state: Annotated[
        Path, typer.Option(help="Folder for database, logs, runs and finished stages.")
    ] = Path("state"),
    server_port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port of the Prefect server and its UI.")
    ] = 4200,
    worker_port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port of the worker's health check.")
    ] = 8080,
) -> None:
    """Start Prefect server, worker and deployments here; Ctrl-C stops them all."""
    console = Console(soft_wrap=True)
    state = state.resolve()
    (state / "logs").mkdir(parents=True, exist_ok=True)
    listed = list_services(state, server_port=server_port, worker_port=worker_port)
    for service in listed:
        services.check_port(service.name, service.port)
    # A polite end of this process stops its children as Ctrl-C does.
    signal.signal(signal.SIGTERM, _interrupt)
    started: list[subprocess.Popen[bytes]] = []
    try:
        for service in listed:
            console.print(f"starting {service.name} ...", markup=False)
            started.append(services.start(service, state / "logs"))
            log = state / "logs" / f"{service.name}.log"
            services.wait_until_healthy(service, started[-1], log)
            if service.name == "server":
                console.print("registering the deployments ...", markup=False)
                _bootstrap(service.environment)
        for service in listed:
            if service.address is not None:
                console.print(f"{service.name}: {service.address}", markup=False)
        console.print(f"runs and logs: {state}", markup=False)
        console.print("Ctrl-C stops everything.", markup=False)
        _watch(started, [service.name for service in listed], state / "logs")
    except KeyboardInterrupt:
        console.print("stopping ...", markup=False)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must leave nothing over
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        services.stop(started)


def list_services(state: Path, *, server_port: int, worker_port: int) -> list[Service]:
    """Return every service in the order of its start. A new one is one more entry here."""
    server = f"http://127.0.0.1:{server_port}"
    environment = {
        "PREFECT_HOME": str(state / "prefect"),
        "PREFECT_API_URL": f"{server}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_RESULTS_LOCAL_STORAGE_PATH": str(state / "results"),
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
        "PREFECT_WORKER_QUERY_SECONDS": "2",
        "PREFECT_WORKER_WEBSERVER_HOST": "127.0.0.1",
        "PREFECT_WORKER_WEBSERVER_PORT": str(worker_port),
        "ADAPTER_DISTILL_HOME": str(state),
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *_python_path()]),
    }
    prefect = [sys.executable, "-m", "prefect"]
    return [
        Service(
            name="server",
            command=[
                *prefect,
                "server",
                "start",
                "--host",
                "127.0.0.1",
                "--port",
                str(server_port),
            ],
            port=server_port,
            health=f"{server}/api/ready",
            address=server,
            environment=environment,
        ),
        Service(
            name="worker",
            command=[
                *prefect,
                *("worker", "start", "--pool", "adapter-distill", "--name", "local"),
                *("--limit", "1", "--with-healthcheck"),
            ],
            port=worker_port,
            health=f"http://127.0.0.1:{worker_port}/health",
            address=None,
            environment=environment,
        ),
    ]


def _bootstrap(environment: Mapping[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "flows.bootstrap"],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise InputError(f"The deployments could not be registered:\n{done.stderr[-3000:]}")


def _watch(processes: "list[subprocess.Popen[bytes]]", names: list[str], logs: Path) -> NoReturn:
    """Wait for Ctrl-C; raise when a service ends by itself."""
    while True:
        for name, process in zip(names, processes, strict=True):
            if process.poll() is not None:
                raise InputError(
                    f"{name} ended by itself (exit code {process.returncode}); all others are "
                    f"stopped. {logs / name}.log says why."
                )
        time.sleep(0.5)


def _python_path() -> list[str]:
    return [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]


def _interrupt(_number: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt
