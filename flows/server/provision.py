"""`python -m flows.server.provision`: what a Prefect server must hold before work starts on it.

The work pool, the limits, the automations that end runs whose process is gone, and the deployments
of prefect.yaml. Run it as often as you like: what is there already is brought up to date.
"""

import subprocess
import sys
from dataclasses import dataclass
from datetime import timedelta

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.exceptions import ObjectAlreadyExists
from prefect.workers.process import ProcessWorker

from flows.building import LIMIT, slots
from flows.names import POOL, PREFECT_FILE
from pipeline.errors import InputError


@dataclass(frozen=True, kw_only=True, slots=True)
class Silence:
    """So long after an event, a run that sends no other has no process any more."""

    name: str
    after: str
    seconds: int
    message: str


# Nobody else ends them: the worker that would do it may have died with the run.
SILENCES = (
    Silence(
        name="adapter-distill: end runs whose process is gone",
        after="prefect.flow-run.heartbeat",
        seconds=90,  # three heartbeats
        message="The run's process is gone: no heartbeat for 90 seconds. Retry it to go on from "
        "its last finished stage and checkpoint.",
    ),
    Silence(
        name="adapter-distill: end runs that never began",
        after="prefect.flow-run.Pending",
        seconds=300,
        message="The run was given to a worker, and its process did not begin within five minutes: "
        "the worker died, or the machine is too busy. Retry it.",
    ),
)


def bootstrap() -> None:
    """Bring the server at PREFECT_API_URL up to date.

    Raises:
        InputError: when the deployments are refused, with Prefect's own words.
    """
    with get_client(sync_client=True) as client:
        _create_pool(client)
        client.upsert_global_concurrency_limit_by_name(LIMIT, slots())
        for silence in SILENCES:
            _create_automation(client, silence)
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    done = subprocess.run(
        [*command, "--prefect-file", PREFECT_FILE.name],
        cwd=PREFECT_FILE.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise InputError(f"prefect.yaml was refused:\n{(done.stdout + done.stderr)[-3000:]}")


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


def _create_automation(client: SyncPrefectClient, silence: Silence) -> None:
    """Crash the runs that are silent for too long after an event."""
    automation = AutomationCore(
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
    known = client.read_automations_by_name(silence.name)
    if known:
        client.update_automation(known[0].id, automation)
    else:
        client.create_automation(automation)


if __name__ == "__main__":
    bootstrap()
