"""Requests of the UI to a Prefect server, for tests, and waiting for their results."""

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED", "PAUSED")


def wait_for(what: Callable[[], Any], *, seconds: float = 240.0) -> Any:
    """Return the first true value of ``what()``; fail after so many seconds."""
    deadline = time.monotonic() + seconds
    while not (value := what()):
        assert time.monotonic() < deadline, f"waited {seconds} s in vain"
        time.sleep(0.1)
    return value


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass(kw_only=True)
class Api:
    """A Prefect server's API."""

    client: httpx.Client
    wait_for = staticmethod(wait_for)

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
        return wait_for(
            lambda: (state := self.state_of(run))["type"] in until and state, seconds=seconds
        )

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
