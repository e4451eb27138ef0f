"""Stages that another work pool builds, such as one whose workers have a GPU.

The run of a config waits for a run of `build_stage` on that pool. Both share ``runs_dir``. The
stage comes back as the name of its folder, because only its own machine may know its key. Its
digests are checked before it is used.
"""

import time
from functools import partial
from typing import Any, cast, get_args
from uuid import UUID

import httpx
import yaml
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, State, WorkerStatus
from prefect.deployments import run_deployment
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import ObjectNotFound
from prefect.logging import get_run_logger
from prefect.states import Cancelled, Cancelling, Completed
from prefect.types.entrypoint import EntrypointType

from flows.building import building
from flows.names import PREFECT_FILE
from flows.page.run import explain_failure
from flows.tasks import Elsewhere, as_tasks
from pipeline.chain.chain import chain, why_no_stage
from pipeline.chain.program import progress
from pipeline.chain.stage_names import StageName
from pipeline.config import RunConfig
from pipeline.errors import InputError, ProjectError
from pipeline.store.stage import Stage
from pipeline.store.step import Step
from pipeline.store.store import Store

_SECONDS_BETWEEN_LOOKS = 3.0
_SECONDS_OF_A_RESTART = 300.0
"""Time that a server may be away while a stage is built elsewhere."""


class PoolError(ProjectError, RuntimeError):
    """A stage that its work pool did not build: the run on that pool says why."""


@flow(
    name="build-stage",
    flow_run_name="{config.name}-{stage}",
    validate_parameters=True,
    persist_result=False,
    on_failure=[explain_failure],
    on_crashed=[explain_failure],
)
def build_stage(config: RunConfig, stage: StageName) -> State[None]:
    """Build one stage for a run that waits on another pool; finished stages are reused.

    Args:
        config: What to run: the tables of a TOML config, as groups.
        stage: The stage to build.
    """
    with building(config) as store:
        for finished in progress(chain(config), as_tasks(store, config.cluster)):
            if finished.name == stage:
                return Completed(message=finished.folder.name)
    raise RuntimeError(f"the chain ended without the stage {stage}")


def pooled(config: RunConfig) -> Elsewhere:
    """Return who builds the stages that `pools` sends away, by stage.

    Raises:
        InputError: when the config has no such stage, or the server no such pool.
    """
    if not config.pools:
        return {}
    with get_client(sync_client=True) as client:
        for stage, pool in config.pools.items():
            _check_stage(config, stage)
            _check_pool(client, stage, pool)
    return {stage: partial(_build_on, pool, config) for stage, pool in config.pools.items()}


def refuse_pools(config: RunConfig, what: str) -> None:
    """Refuse a config that sends stages away, where they are all built in one place."""
    if config.pools:
        raise InputError(
            f"pools: {what} builds every stage where it runs, and this config sends "
            f"{', '.join(config.pools)} away. Leave the table pools out."
        )


def _check_stage(config: RunConfig, stage: str) -> None:
    names = get_args(StageName)
    if stage not in names:
        raise InputError(f"pools: there is no stage {stage!r}. The stages: {', '.join(names)}.")
    if reason := why_no_stage(config, cast(StageName, stage)):
        raise InputError(
            f"pools: this config has no stage {stage}, because {reason}. Leave it out."
        )


def _check_pool(client: SyncPrefectClient, stage: str, pool: str) -> None:
    try:
        client.read_work_pool(pool)
    except ObjectNotFound as error:
        raise InputError(
            f"pools.{stage}: the Prefect server at {client.api_url} has no work pool {pool!r}. "
            f"Create it with `adapter-distill pools create {pool}`, or leave it out."
        ) from error
    workers = client.read_workers_for_work_pool(pool)
    if not any(worker.status == WorkerStatus.ONLINE for worker in workers):
        get_run_logger().warning(
            "pools.%s: no worker of the pool %s is there yet. The stage will wait for one: prefect "
            "worker start --pool %s --limit 1",
            *(stage, pool, pool),
        )


def _build_on(pool: str, config: RunConfig, store: Store, step: Step[Any]) -> Stage[Any]:
    """Return a stage that the pool has built, after it is finished there."""
    logger = get_run_logger()
    with get_client(sync_client=True) as client:
        _deploy(client, pool)
        alone = config.model_copy(update={"pools": {}}).model_dump(mode="json")
        started = run_deployment(
            f"{build_stage.name}/{pool}",
            parameters={"config": alone, "stage": step.name},
            timeout=0,  # seconds: only start it
        )
        run = cast(FlowRun, started)  # typed as what its asynchronous form returns, too
        logger.info("%s: the pool %s builds it, in its run %s", step.name, pool, run.name)
        folder = _wait_for(client, run, f"{step.name} on the pool {pool}")
    stage = store.find(step, folder)
    if stage is None:
        raise PoolError(
            f"The pool {pool} has built {folder}, and it is not in {store.root} here. Its workers "
            "need the same runs_dir on a shared disk: set ADAPTER_DISTILL_HOME to it. Without "
            "such a disk, set shared_stages."
        )
    return stage


def _wait_for(client: SyncPrefectClient, run: FlowRun, what: str) -> str:
    """Return the folder that a run names as it ends; cancel it where this run ends before."""
    try:
        while True:
            state = _state_of(client, run.id)
            if state is not None and state.is_final():
                break
            time.sleep(_SECONDS_BETWEEN_LOOKS)
    except BaseException:
        _cancel(client, run.id)
        raise
    if not state.is_completed() or not state.message:
        raise PoolError(
            f"The run {run.name} ({what}) ended as {state.name}: {state.message or 'no reason'} "
            "Look at its page, then retry this run. Finished stages are used again."
        )
    return state.message


def _state_of(client: SyncPrefectClient, run: UUID) -> State[Any] | None:
    """Return the state of a run; wait for a server that restarts."""
    deadline = time.monotonic() + _SECONDS_OF_A_RESTART
    while True:
        try:
            return client.read_flow_run(run).state
        except httpx.TransportError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_SECONDS_BETWEEN_LOOKS)


def _cancel(client: SyncPrefectClient, run: UUID) -> None:
    """End a run that nobody waits for any more; one that has begun is ended by its worker."""
    why = "The run that waited for it has ended."
    state = client.read_flow_run(run).state
    begun = state is not None and (state.is_running() or state.is_pending())
    client.set_flow_run_state(run, (Cancelling if begun else Cancelled)(message=why))


def _deploy(client: SyncPrefectClient, pool: str) -> None:
    """Let a pool offer `build_stage`, as the code here has it."""
    # Typed as what its asynchronous form returns, too.
    wanted = cast(
        RunnerDeployment,
        build_stage.to_deployment(name=pool, entrypoint_type=EntrypointType.MODULE_PATH),
    )
    client.create_deployment(
        flow_id=client.create_flow_from_name(build_stage.name),
        name=pool,
        version=wanted.version,
        description="Built for runs whose config sends stages to this pool.",
        work_pool_name=pool,
        tags=["pools"],
        entrypoint=wanted.entrypoint,
        parameter_openapi_schema=wanted._parameter_openapi_schema.model_dump(exclude_unset=True),
        # A worker fills its own environment into these steps, before each run.
        pull_steps=yaml.safe_load(PREFECT_FILE.read_text(encoding="utf-8"))["pull"],
        enforce_parameter_schema=True,
        paused=False,
    )
