"""Services of `adapter-distill up`: Prefect server, MLflow, worker and student server.

All of them listen on loopback and keep their state in one folder. The registry is the SQLite file
in the runs folder below it. The worker writes it, MLflow shows it, the student server follows it.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from flows.names import MLFLOW_UI, POOL
from flows.up.services import Service

LEASES = "prefect.server.concurrency.lease_storage.filesystem"
"""Where the Prefect server keeps its concurrency limits' leases: below ``PREFECT_HOME``."""

OPTIONAL = {"mlflow": ("mlflow", "tracking"), "student": ("kserve", "serve")}
"""Services that come with an extra: the package that they need, and the extra's name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ports:
    """Where the services listen, on loopback."""

    server: int
    mlflow: int
    worker: int
    student: int


def list_services(
    state: Path, ports: Ports, students: Sequence[str]
) -> tuple[list[Service], list[Service]]:
    """Return what must answer before deployments are registered, and what is started then.

    Optional services are among them where they are installed.

    Args:
        state: Folder of everything that they write.
        ports: Where they listen.
        students: Names whose champions are served.
    """
    environment = shared_environment(state, ports)
    missing = missing_services()
    first = [
        _server(environment, ports.server),
        _mlflow(environment, ports.mlflow, state / "runs"),
    ]
    then = [
        _worker(environment, ports.worker),
        _student(environment, ports.student, students),
    ]
    return [each for each in first if each.name not in missing], [
        each for each in then if each.name not in missing
    ]


def missing_services() -> dict[str, str]:
    """Return the optional services that are not installed, each with the extra that it needs."""
    return {
        service: extra for service, (package, extra) in OPTIONAL.items() if not _is_there(package)
    }


def shared_environment(state: Path, ports: Ports) -> dict[str, str]:
    """Return the environment that all services share, and what registers the deployments."""
    return {
        "PREFECT_HOME": str(state / "prefect"),
        "PREFECT_API_URL": f"http://127.0.0.1:{ports.server}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        # In memory, as by default, a killed server forgets who holds a slot, which stays taken.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": LEASES,
        "DO_NOT_TRACK": "1",
        "PREFECT_RESULTS_LOCAL_STORAGE_PATH": str(state / "results"),
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
        "PREFECT_WORKER_QUERY_SECONDS": "2",
        # SQLite waits for a minute, then the server says that it is busy: wait for that answer.
        "PREFECT_API_REQUEST_TIMEOUT": "90",
        # Without its database the server answers 500, which clients take for final otherwise.
        "PREFECT_CLIENT_RETRY_EXTRA_CODES": "500,504",
        "PREFECT_CLIENT_MAX_RETRIES": "7",
        "ADAPTER_DISTILL_HOME": str(state),
        "MLFLOW_TRACKING_URI": f"sqlite:///{state / 'runs' / 'mlflow.db'}",
        **(
            {}
            if "mlflow" in missing_services()
            else {MLFLOW_UI: f"http://127.0.0.1:{ports.mlflow}"}
        ),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *_python_path()]),
    }


def _server(environment: dict[str, str], port: int) -> Service:
    address = f"http://127.0.0.1:{port}"
    return Service(
        name="server",
        command=[
            # Prefect's own command, on a SQLite that waits for its turn.
            *(sys.executable, "-m", "flows.server.embedded", "server", "start"),
            *("--host", "127.0.0.1", "--port", str(port)),
        ],
        port=port,
        health=f"{address}/api/ready",
        address=address,
        usual_s=15,
        environment=environment,
    )


def _mlflow(environment: dict[str, str], port: int, runs: Path) -> Service:
    address = f"http://127.0.0.1:{port}"
    return Service(
        name="mlflow",
        command=[
            *(sys.executable, "-m", "mlflow", "server"),
            *("--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
            *("--backend-store-uri", environment["MLFLOW_TRACKING_URI"]),
            *("--artifacts-destination", str(runs / "mlartifacts")),
        ],
        port=port,
        health=f"{address}/health",
        address=address,
        usual_s=10,
        # Its jobs evaluate language models, in processes of their own.
        environment=environment | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
    )


def _worker(environment: dict[str, str], port: int) -> Service:
    return Service(
        name="worker",
        command=[
            *(sys.executable, "-m", "prefect", "worker", "start", "--pool", POOL),
            *("--name", "local", "--limit", "1", "--with-healthcheck"),
        ],
        port=port,
        health=f"http://127.0.0.1:{port}/health",
        address=None,
        usual_s=5,
        environment=environment
        | {
            "PREFECT_WORKER_WEBSERVER_HOST": "127.0.0.1",
            "PREFECT_WORKER_WEBSERVER_PORT": str(port),
        },
    )


def _student(environment: dict[str, str], port: int, students: Sequence[str]) -> Service:
    address = f"http://127.0.0.1:{port}"
    return Service(
        name="student",
        command=[
            *(sys.executable, "-m", "flows.cli.main", "serve", *students),
            *("--host", "127.0.0.1", "--port", str(port)),
        ],
        port=port,
        # It is ready when the first champion is promoted.
        health=f"{address}/v2/health/live",
        address=f"{address}/v2/models",
        usual_s=5,
        environment=environment,
    )


def _is_there(package: str) -> bool:
    # Not whether it can be imported: mlflow-skinny has a package mlflow too, without its server.
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def _python_path() -> list[str]:
    return [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
