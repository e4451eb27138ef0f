"""Runs that a server still calls running, though their process is gone.

An interrupted installation leaves them: the server was away when their process ended, so it never
learned of the end. They are marked as crashed, or as cancelled where that was requested.
"""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import psutil
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.states import Cancelled, Crashed

from flows.names import POOL
from flows.server.records import Say

_BUSY = [StateType.RUNNING, StateType.PENDING, StateType.CANCELLING]
_RUN_ID = "PREFECT__FLOW_RUN_ID"
"""Environment variable of the process that a worker starts for a run."""
_PAGE = 200
_MESSAGE = (
    "The installation was stopped while this run worked, and its process is gone. Retry it to "
    "continue from its last finished stage and checkpoint."
)


def end_runs_of_this_machine(client: SyncPrefectClient, say: Say) -> None:
    """End the pool's runs that have no process here, where no worker but this machine's can be."""
    alive = _runs_with_processes()
    _end(client, _with_parts(client, lambda run: str(run.id) not in alive), say)


def end_silent_runs(client: SyncPrefectClient, say: Say, seconds: float) -> None:
    """End the pool's runs that send no event for so long; wait only where a run is said to work."""
    started = datetime.now(UTC)
    working = [run for run in _busy_runs(client) if run.work_pool_name == POOL]
    if not working:
        return
    say(f"{len(working)} runs are said to work: listening to them for {seconds:.0f} s")
    time.sleep(seconds)
    # One that never had a heartbeat may be at work where heartbeats are off: nothing is certain.
    dead = {
        run.id
        for run in working
        if _has_heartbeat(client, run, since=run.start_time or started)
        and not _has_heartbeat(client, run, since=started)
    }
    _end(client, _with_parts(client, lambda run: run.id in dead), say)


def _busy_runs(client: SyncPrefectClient) -> list[FlowRun]:
    wanted = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_BUSY)))
    found: list[FlowRun] = []
    while page := client.read_flow_runs(flow_run_filter=wanted, limit=_PAGE, offset=len(found)):
        found += page
    return found


def _with_parts(client: SyncPrefectClient, is_dead: Callable[[FlowRun], bool]) -> list[FlowRun]:
    """Return the pool's dead runs, and the runs that are parts of them, in the same process."""
    busy = _busy_runs(client)
    dead = [run for run in busy if run.work_pool_name == POOL and is_dead(run)]
    parents = {
        run.id: client.read_task_run(run.parent_task_run_id).flow_run_id
        for run in busy
        if run.parent_task_run_id is not None
    }
    ids = {run.id for run in dead}
    while more := [run for run in busy if run.id not in ids and parents.get(run.id) in ids]:
        ids |= {run.id for run in more}
        dead += more
    return dead


def _end(client: SyncPrefectClient, runs: Sequence[FlowRun], say: Say) -> None:
    for run in runs:
        is_cancelled = run.state_type is StateType.CANCELLING
        state: State[None] = (
            Cancelled(message=_MESSAGE) if is_cancelled else Crashed(message=_MESSAGE)
        )
        client.set_flow_run_state(run.id, state)
        say(f"run {run.name}: {state.name}, because its process is gone; it can be retried")


def _runs_with_processes() -> set[str]:
    """Return the ids of the runs that a process of this machine works on."""
    found = set()
    for process in psutil.process_iter():
        try:
            run = process.environ().get(_RUN_ID)
            if run is not None and process.status() != psutil.STATUS_ZOMBIE:
                found.add(run)
        except (psutil.Error, OSError):  # it has ended, or is another user's
            continue
    return found


def _has_heartbeat(client: SyncPrefectClient, run: FlowRun, since: datetime) -> bool:
    """Return whether a run has sent a heartbeat since then."""
    wanted = {
        "occurred": {"since": since.isoformat(), "until": datetime.now(UTC).isoformat()},
        "event": {"name": ["prefect.flow-run.heartbeat"]},
        "resource": {"id": [f"prefect.flow-run.{run.id}"]},
    }
    answer = client.request("POST", "/events/filter", json={"filter": wanted, "limit": 1})
    return bool(answer.json()["events"])
