"""Runs without a process, on a real server; the processes of living ones are real."""

import os
import subprocess
import sys
import threading
from datetime import UTC, datetime
from uuid import uuid4

import psutil
import pytest
from prefect.client.orchestration import get_client

from flows.names import POOL
from flows.server import dead_runs
from flows.server.provision import bootstrap

pytestmark = [pytest.mark.xdist_group("prefect"), pytest.mark.usefixtures("prefect_server")]


@pytest.fixture(scope="module")
def client(prefect_server):
    assert prefect_server
    with get_client(sync_client=True) as client:
        bootstrap(lambda _: None)
        yield client


@pytest.fixture
def make_run(client):
    """``make_run(state, **fields)``: the id of a run of the pool in a state."""
    made = []

    def make_run(state, *, pool=POOL, parent=None):
        flow = client.create_flow_from_name("stopped")
        wanted = {
            "flow_id": str(flow),
            "state": {"type": state, "name": state.title()},
            "name": f"{state.lower()}-{len(made)}",
            "work_pool_name": pool,
        }
        if parent:
            part = {"flow_run_id": parent, "task_key": "part", "dynamic_key": str(uuid4())}
            task = client.request("POST", "/task_runs/", json=part).json()
            wanted["parent_task_run_id"] = task["id"]
        made.append(client.request("POST", "/flow_runs/", json=wanted).json()["id"])
        return made[-1]

    yield make_run
    for run in made:
        client.delete_flow_run(run)


def states(client, *runs):
    return [client.read_flow_run(run).state_type.value for run in runs]


def test_runs_without_a_process_end_and_their_parts_with_them(client, make_run):
    busy = [make_run(state) for state in ("RUNNING", "PENDING", "CANCELLING")]
    part = make_run("RUNNING", pool=None, parent=busy[0])
    said = []
    dead_runs.end_runs_of_this_machine(client, said.append)

    assert states(client, *busy, part) == ["CRASHED", "CRASHED", "CANCELLED", "CRASHED"]
    assert len(said) == 4
    assert "can be retried" in said[0]


def test_runs_with_a_process_and_those_that_wait_or_are_others_go_on(client, make_run):
    alive, waiting = make_run("RUNNING"), make_run("SCHEDULED")
    by_hand, suspended = make_run("RUNNING", pool=None), make_run("PAUSED")
    working = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(99)"],
        env=os.environ | {"PREFECT__FLOW_RUN_ID": alive},
    )
    try:
        dead_runs.end_runs_of_this_machine(client, lambda _: None)
    finally:
        working.kill()
        working.wait()

    expected = ["RUNNING", "SCHEDULED", "RUNNING", "PAUSED"]
    assert states(client, alive, waiting, by_hand, suspended) == expected
    assert not psutil.pid_exists(working.pid)


@pytest.mark.slow
def test_only_a_run_whose_heartbeat_stopped_is_ended_by_its_silence(client, make_run):
    silent, speaking, never = (make_run("RUNNING") for _ in range(3))

    def beat(run):
        event = {
            "id": str(uuid4()),
            "event": "prefect.flow-run.heartbeat",
            "occurred": datetime.now(UTC).isoformat(),
            "resource": {"prefect.resource.id": f"prefect.flow-run.{run}"},
        }
        client.request("POST", "/events", json=[event])

    beat(silent)
    beat(speaking)
    later = threading.Timer(2, beat, [speaking])
    later.start()
    # The server writes events every few seconds.
    dead_runs.end_silent_runs(client, lambda _: None, seconds=20)
    later.join()

    assert states(client, silent, speaking, never) == ["CRASHED", "RUNNING", "RUNNING"]
