"""A real installation for the tests of operations: server, worker and deployments as processes."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from flows import services
from flows.up import list_services
from pipeline.config_file import load_config

ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED", "PAUSED")


def wait_for(what: Callable[[], Any], *, seconds: float = 240.0) -> Any:
    """Return the first true value of ``what()``; fail after so many seconds."""
    deadline = time.monotonic() + seconds
    while not (value := what()):
        assert time.monotonic() < deadline, f"waited {seconds} s in vain"
        time.sleep(0.1)
    return value


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


@dataclass
class Installation:
    """Server and worker, and the requests that the UI makes."""

    services: dict[str, services.Service]
    processes: dict[str, subprocess.Popen]
    state: Path
    client: httpx.Client
    wait_for = staticmethod(wait_for)
    is_gone = staticmethod(is_gone)

    def request(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        """Ask the API; SQLite under load answers 503 for a moment."""
        for _ in range(20):
            answer = self.client.request(method, path, **arguments)
            if answer.status_code != 503:
                return answer
            time.sleep(0.5)
        return answer

    def submit(self, deployment: str, **parameters: Any) -> httpx.Response:
        """Start a run of a deployment, as the form does."""
        found = self.request("GET", f"/deployments/name/{deployment}").json()
        path = f"/deployments/{found['id']}/create_flow_run"
        return self.request("POST", path, json={"parameters": parameters})

    def start(self, deployment: str, **parameters: Any) -> str:
        """Start a run that is accepted; return its id."""
        answer = self.submit(deployment, **parameters)
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    def state_of(self, run: str) -> dict[str, Any]:
        """Return the state of a run."""
        return self.request("GET", f"/flow_runs/{run}").json()["state"]

    def wait(self, run: str, until=ENDED, *, seconds=240.0) -> dict[str, Any]:
        """Return the state that a run ends in."""
        wait_for(lambda: self.state_of(run)["type"] in until, seconds=seconds)
        return self.state_of(run)

    def retry(self, run: str) -> None:
        """Do what the button *Retry* does."""
        state = {"type": "SCHEDULED", "name": "AwaitingRetry"}
        self.request("POST", f"/flow_runs/{run}/set_state", json={"state": state, "force": True})

    def logs(self, run: str) -> str:
        """Return what a run has logged."""
        wanted = {"logs": {"flow_run_id": {"any_": [run]}}, "sort": "TIMESTAMP_ASC"}
        found = self.request("POST", "/logs/filter", json=wanted).json()
        return "\n".join(log["message"] for log in found)

    def artifacts(self, run: str) -> dict[str, Any]:
        """Return a run's artifacts by key."""
        wanted = {"artifacts": {"flow_run_id": {"any_": [run]}}}
        found = self.request("POST", "/artifacts/filter", json=wanted).json()
        return {artifact["key"]: artifact for artifact in found}

    def kill(self, process: psutil.Process) -> None:
        """Kill -9, and wait until the process is gone."""
        process.kill()
        wait_for(lambda: is_gone(process), seconds=30)

    def start_service(self, name: str) -> None:
        """Start a service and wait until it is healthy."""
        self.processes[name] = services.start(self.services[name], self.state / "logs")
        log = self.state / "logs" / f"{name}.log"
        services.wait_until_healthy(self.services[name], self.processes[name], log)

    def run_process(self) -> psutil.Process | None:
        """Return the process of the flow run that the worker runs now."""
        worker = psutil.Process(self.processes["worker"].pid)
        return next((p for p in worker.children() if "prefect" in command_of(p)), None)

    def trainer(self) -> psutil.Process | None:
        """Return the child in which that flow run builds its stages."""
        run = self.run_process()
        children = run.children() if run else []
        return next((p for p in children if "spawn_main" in command_of(p)), None)


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="session")
def installation_port() -> Callable[[], int]:
    """``installation_port()``: a port that nobody listens on now."""
    return free_port


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Server, worker and deployments on free ports, stopped when the session ends."""
    state = tmp_path_factory.mktemp("state")
    (state / "logs").mkdir()
    listed = list_services(state, server_port=free_port(), worker_port=free_port())
    server = listed[0].health.removesuffix("/ready")
    found = Installation(
        services={service.name: service for service in listed},
        processes={},
        state=state,
        client=httpx.Client(base_url=server, timeout=60),
    )
    try:
        found.start_service("server")
        environment = os.environ | found.services["server"].environment
        for _ in range(2):  # the second time, everything is there already
            subprocess.run([sys.executable, "-m", "flows.bootstrap"], env=environment, check=True)
        found.start_service("worker")
        yield found
    finally:
        services.stop(list(found.processes.values()))


@pytest.fixture(scope="session")
def smoke_config(smoke_overrides: list[str], tmp_path_factory: pytest.TempPathFactory):
    """``smoke_config()``: configs/smoke.toml as a form sends it, with a ``runs_dir`` of its own.

    Its fine-tuning has so many checkpoints that a test can interfere between two of them.
    """

    def smoke_config(*overrides: str) -> dict[str, Any]:
        slow = ["finetune.epochs=30", "finetune.patience=99"]
        runs = f"runs_dir={tmp_path_factory.mktemp('runs')}"
        config = load_config(
            Path("configs/smoke.toml"), [*smoke_overrides, *slow, runs, *overrides]
        )
        return config.model_dump(mode="json")

    return smoke_config
