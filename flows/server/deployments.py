"""The deployments of prefect.yaml on a Prefect server, beside what people changed there."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import httpx
import yaml
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate, DeploymentUpdate
from prefect.client.schemas.objects import ConcurrencyOptions, DeploymentSchedule
from prefect.client.schemas.responses import DeploymentResponse
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError

from flows.names import POOL, PREFECT_FILE
from flows.server.kept_changes import Parts, digest
from flows.server.local_deployments import local_deployments
from flows.server.records import Entry, Say, bring_up

_PARAMETER, _SCHEDULE = "parameter ", "schedule "
_LIMIT, _QUEUE = "concurrency limit", "work queue"
_PLAIN = ("description", "tags", "paused")
_DEFAULT_QUEUE = "default"


def bring_up_deployments(client: SyncPrefectClient, say: Say, file: Path = PREFECT_FILE) -> None:
    """Bring every deployment of prefect.yaml up, and leave what people changed."""
    # A worker fills its own environment into these steps, before each run.
    steps = yaml.safe_load(file.read_text(encoding="utf-8"))["pull"]
    for wanted in local_deployments(file):
        _bring_up(client, wanted, steps, say)


def _bring_up(
    client: SyncPrefectClient, wanted: RunnerDeployment, steps: list[dict[str, Any]], say: Say
) -> None:
    name = f"{wanted.flow_name}/{wanted.name}"
    try:
        found = client.read_deployment_by_name(name)
    except ObjectNotFound:
        found = None
    entry = Entry(
        name=name,
        ours=_wanted_parts(wanted),
        theirs=_found_parts(found) if found else None,
        create=lambda: _create(client, wanted, steps),
        change=lambda changes: _change(client, cast(DeploymentResponse, found), wanted, changes),
    )
    bring_up(client, entry, say)
    if found is not None:
        _follow_the_code(client, found, wanted, steps, say)


def _wanted_parts(wanted: RunnerDeployment) -> Parts:
    """Return the parts of a deployment of prefect.yaml, as people see and change them."""
    parameters = wanted.model_dump(mode="json", include={"parameters"})["parameters"]
    return _parts(
        wanted, parameters, _schedules(wanted), wanted.concurrency_limit, _DEFAULT_QUEUE, POOL
    )


def _found_parts(found: DeploymentResponse) -> Parts:
    """Return the same parts of a deployment on the server."""
    limit = found.global_concurrency_limit
    return {
        **_parts(
            found,
            found.parameters,
            found.schedules,
            limit.limit if limit else None,
            found.work_queue_name,
            found.work_pool_name,
        ),
        **({"job variables": found.job_variables} if found.job_variables else {}),
    }


def _parts(
    deployment: RunnerDeployment | DeploymentResponse,
    parameters: Mapping[str, Any],
    schedules: list[DeploymentScheduleCreate] | list[DeploymentSchedule],
    limit: int | None,
    queue: str | None,
    pool: str | None,
) -> Parts:
    options = deployment.concurrency_options
    strategy = ConcurrencyOptions.model_validate(options, from_attributes=True) if options else None
    return {
        "description": deployment.description,
        "tags": sorted(deployment.tags or ()),
        "paused": bool(deployment.paused),
        _LIMIT: [limit, strategy.model_dump(mode="json", exclude_defaults=True)]
        if limit is not None and strategy
        else limit,
        _QUEUE: [pool, queue],
        **{f"{_PARAMETER}{name}": value for name, value in parameters.items()},
        **{_schedule_name(each): _schedule_value(each) for each in schedules},
    }


def _schedule_name(schedule: DeploymentScheduleCreate | DeploymentSchedule) -> str:
    """Return a schedule's name: people may leave its slug out, then it is what it says."""
    shown = schedule.slug or json.dumps(_schedule_value(schedule)["when"], sort_keys=True)
    return f"{_SCHEDULE}{shown}"


def _schedule_value(schedule: DeploymentScheduleCreate | DeploymentSchedule) -> dict[str, Any]:
    return {
        "when": schedule.schedule.model_dump(mode="json", exclude_defaults=True),
        "active": schedule.active,
        "parameters": schedule.parameters,
        "max_scheduled_runs": schedule.max_scheduled_runs,
    }


def _create(
    client: SyncPrefectClient, wanted: RunnerDeployment, steps: list[dict[str, Any]]
) -> None:
    client.create_deployment(
        flow_id=client.create_flow_from_name(cast(str, wanted.flow_name)),
        name=wanted.name,
        version=wanted.version,
        schedules=_schedules(wanted),
        concurrency_limit=wanted.concurrency_limit,
        concurrency_options=wanted.concurrency_options,
        parameters=wanted.model_dump(mode="json", include={"parameters"})["parameters"],
        description=wanted.description,
        work_pool_name=POOL,
        tags=wanted.tags,
        entrypoint=wanted.entrypoint,
        parameter_openapi_schema=_form(wanted),
        pull_steps=steps,
        enforce_parameter_schema=True,
        paused=False,
    )


def _schedules(wanted: RunnerDeployment) -> list[DeploymentScheduleCreate]:
    # Typed for updates, too; prefect.yaml gives none.
    return cast(list[DeploymentScheduleCreate], wanted.schedules or [])


def _change(
    client: SyncPrefectClient,
    found: DeploymentResponse,
    wanted: RunnerDeployment,
    changes: Mapping[str, Any],
) -> None:
    """Give the parts that the project changed its values, and nothing else."""
    update: dict[str, Any] = {name: changes[name] for name in _PLAIN if name in changes}
    if "tags" in changes:
        update["tags"] = wanted.tags  # in the project's order
    if _LIMIT in changes:
        update["concurrency_limit"] = wanted.concurrency_limit
        update["concurrency_options"] = wanted.concurrency_options
    if _QUEUE in changes:
        update["work_pool_name"], update["work_queue_name"] = POOL, _DEFAULT_QUEUE
    if any(name.startswith(_PARAMETER) for name in changes):
        parameters = dict(found.parameters)
        for name in (each for each in changes if each.startswith(_PARAMETER)):
            parameters.pop(name.removeprefix(_PARAMETER), None)
            if changes[name] is not None:
                parameters[name.removeprefix(_PARAMETER)] = changes[name]
        # A new parameter is unknown to the old form.
        update |= {"parameters": parameters} | {"parameter_openapi_schema": _form(wanted)}
    if update:
        client.update_deployment(found.id, DeploymentUpdate(**update))
    for schedule in found.schedules:
        if _schedule_name(schedule) in changes:
            client.delete_deployment_schedule(found.id, schedule.id)
    new = [each for each in _schedules(wanted) if changes.get(_schedule_name(each))]
    if new:
        client.create_deployment_schedules(found.id, new)


def _follow_the_code(
    client: SyncPrefectClient,
    found: DeploymentResponse,
    wanted: RunnerDeployment,
    steps: list[dict[str, Any]],
    say: Say,
) -> None:
    """Bring up to date what belongs to the code: form, entry point, version, pull steps."""
    form = _form(wanted)
    before = [found.parameter_openapi_schema, found.entrypoint, found.version, found.pull_steps]
    after = [form, wanted.entrypoint, wanted.version, steps]
    if digest(before) == digest(after):
        return
    update = DeploymentUpdate(
        parameter_openapi_schema=form,
        entrypoint=wanted.entrypoint,
        version=wanted.version,
        pull_steps=steps,
    )
    try:
        client.update_deployment(found.id, update)
    except PrefectHTTPStatusError as error:
        if error.response.status_code != httpx.codes.CONFLICT:
            raise
        say(
            f"{wanted.flow_name}/{wanted.name}: left with its old form, because parameters that "
            f"were changed here do not fit the new one: {error.response.text[:300]} Correct them "
            "in the UI (Deployments, Edit), or delete the deployment; then start again."
        )


def _form(wanted: RunnerDeployment) -> dict[str, Any]:
    """Return the schema of a deployment's form."""
    # Nothing public gives it; `prefect deploy` itself takes it from there.
    return wanted._parameter_openapi_schema.model_dump(exclude_unset=True)
