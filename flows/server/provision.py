"""`python -m flows.server.provision`: what a Prefect server must hold before work starts on it.

The work pool, the limits, the automations that end runs whose process is gone, and the deployments
of prefect.yaml. Run it as often as you like: it brings what is missing and what the project itself
changed since. Changes of people on the server stay, and are named. Runs whose process ended while
the server was away are ended first.
"""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, cast

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import Automation, AutomationCore, EventTrigger, Posture
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.workers.process import ProcessWorker

from flows.building import LIMIT
from flows.names import POOL, slots
from flows.server.dead_runs import end_runs_of_this_machine, end_silent_runs
from flows.server.deployments import bring_up_deployments
from flows.server.kept_changes import Parts
from flows.server.records import Entry, Say, bring_up


@dataclass(frozen=True, kw_only=True, slots=True)
class Silence:
    """Seconds after which a run that sends no further event is marked as crashed."""

    name: str
    after: str
    seconds: int
    message: str


ALONE = "--alone"
"""Argument of the script: this machine's worker is the only one, and has not started yet."""

# Nobody else ends them: the worker that would do it may have died with the run.
SILENCES = (
    Silence(
        name="adapter-distill: end runs whose process is gone",
        after="prefect.flow-run.heartbeat",
        seconds=90,  # three heartbeats
        message="The run's process is gone: no heartbeat for 90 seconds. Retry it to continue from "
        "its last finished stage and checkpoint.",
    ),
    Silence(
        name="adapter-distill: end runs that never began",
        after="prefect.flow-run.Pending",
        seconds=300,
        message="A worker took the run, but its process did not begin within five minutes. The "
        "worker died, or the machine is too busy. Retry the run.",
    ),
)


def bootstrap(say: Say, *, is_alone: bool = False) -> None:
    """Bring the server at PREFECT_API_URL up to date, and leave what people changed there.

    Args:
        say: Takes a line for all that is created, changed or left.
        is_alone: Whether this machine's worker is the only one, and has not started yet.
    """
    with get_client(sync_client=True) as client:
        if is_alone:
            end_runs_of_this_machine(client, say)
        else:
            end_silent_runs(client, say, SILENCES[0].seconds)
        _create_pool(client)
        _bring_up_limit(client, say)
        for silence in SILENCES:
            _bring_up_automation(client, silence, say)
        bring_up_deployments(client, say)


def _create_pool(client: SyncPrefectClient) -> None:
    try:
        client.create_work_pool(
            WorkPoolCreate(
                name=POOL,
                type="process",
                base_job_template=ProcessWorker.get_default_base_job_template(),
            )
        )
    except ObjectAlreadyExists:
        return


def _bring_up_limit(client: SyncPrefectClient, say: Say) -> None:
    """Keep the limit of stages that are built at once, whose slots the environment gives."""
    try:
        found = client.read_global_concurrency_limit_by_name(LIMIT)
    except ObjectNotFound:
        found = None

    def put(_: object = None) -> None:
        client.upsert_global_concurrency_limit_by_name(LIMIT, slots())

    ours, theirs = {"slots": slots()}, {"slots": found.limit} if found else None
    bring_up(client, Entry(name=LIMIT, ours=ours, theirs=theirs, create=put, change=put), say)


def _bring_up_automation(client: SyncPrefectClient, silence: Silence, say: Say) -> None:
    """Crash the runs that are silent for too long after an event."""
    wanted = _automation(silence)
    found = next(iter(client.read_automations_by_name(silence.name)), None)

    def change(changes: Mapping[str, Any]) -> None:
        left = [part for part in _AUTOMATION_PARTS if part not in changes]
        known = cast(Automation, found)
        client.update_automation(known.id, wanted.model_copy(update=_fields(known, left)))

    entry = Entry(
        name=silence.name,
        ours=_automation_parts(wanted),
        theirs=_automation_parts(found) if found else None,
        create=lambda: client.create_automation(wanted),
        change=change,
    )
    bring_up(client, entry, say)


_AUTOMATION_PARTS = {"switched on": ("enabled",), "rule": ("description", "trigger", "actions")}


def _automation_parts(automation: AutomationCore) -> Parts:
    fields = automation.model_dump(mode="json")
    return {part: [fields[name] for name in names] for part, names in _AUTOMATION_PARTS.items()}


def _fields(automation: AutomationCore, parts: Iterable[str]) -> dict[str, Any]:
    return {name: getattr(automation, name) for part in parts for name in _AUTOMATION_PARTS[part]}


def _automation(silence: Silence) -> AutomationCore:
    return AutomationCore(
        name=silence.name,
        description="Such a run is marked as crashed, so that it can be retried.",
        trigger=EventTrigger(
            after={silence.after},
            # Any event of the run: a suspended or renamed state is no silence.
            expect={"prefect.flow-run.*"},
            match={"prefect.resource.id": "prefect.flow-run.*"},
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=silence.seconds),
        ),
        actions=[ChangeFlowRunState(state=StateType.CRASHED, message=silence.message)],
    )


if __name__ == "__main__":
    bootstrap(partial(print, flush=True), is_alone=ALONE in sys.argv[1:])
