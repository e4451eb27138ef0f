"""The deployments of prefect.yaml in one process, for one developer.

``python -m flows.server.local_deployments`` serves them.

No worker and no work pool are needed, only PREFECT_API_URL. Runs start within ten seconds of a
click. Ctrl-C pauses the schedules: production takes a worker, as `adapter-distill up` starts it.
"""

from pathlib import Path
from typing import Any, cast

import yaml
from prefect import serve
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.objects import ConcurrencyLimitConfig
from prefect.client.schemas.schedules import CronSchedule
from prefect.deployments.runner import RunnerDeployment
from prefect.types.entrypoint import EntrypointType

from flows.chain import adapter_to_student, run_stage
from flows.compare import compare
from flows.names import PREFECT_FILE
from flows.own_data import my_adapter, my_data
from flows.release import promote_student, roll_back_student
from flows.retrain import retrain
from flows.sweep import sweep_students

_FLOWS = (
    my_data,
    my_adapter,
    adapter_to_student,
    run_stage,
    sweep_students,
    compare,
    retrain,
    promote_student,
    roll_back_student,
)
FLOWS = {flow.fn.__name__: flow for flow in _FLOWS}


def local_deployments(file: Path = PREFECT_FILE) -> list[RunnerDeployment]:
    """Return the deployments of prefect.yaml, to be served by this process."""
    entries = yaml.safe_load(file.read_text(encoding="utf-8"))["deployments"]
    return [_read(entry) for entry in entries]


def _read(entry: dict[str, Any]) -> RunnerDeployment:
    limit = entry.get("concurrency_limit")
    flow = FLOWS[entry["entrypoint"].rpartition(".")[2]]
    deployment = flow.to_deployment(
        name=entry["name"],
        description=entry["description"],
        tags=entry["tags"],
        parameters=entry["parameters"],
        schedules=[_schedule(schedule) for schedule in entry.get("schedules", [])],
        concurrency_limit=ConcurrencyLimitConfig(**limit) if limit else None,
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    # Typed as what its asynchronous form returns.
    return cast(RunnerDeployment, deployment)


def _schedule(entry: dict[str, Any]) -> DeploymentScheduleCreate:
    return DeploymentScheduleCreate(
        schedule=CronSchedule(cron=entry["cron"], timezone=entry["timezone"]),
        active=entry["active"],
        slug=entry["slug"],
    )


if __name__ == "__main__":
    serve(*local_deployments(), limit=1)
