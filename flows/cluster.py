"""Stages of which none needs another, built on a Ray or Dask cluster as tasks of one flow.

The store makes each of them safe. A finished one is not built again, and a build that dies leaves
nothing finished behind. If a worker dies, its stage is sent once more, and nothing else is lost.
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture, as_completed
from prefect.logging import get_run_logger
from prefect.task_runners import TaskRunner

from pipeline.config.cluster import ClusterConfig
from pipeline.errors import InputError, ProjectError, first_line
from pipeline.store.stage import Stage
from pipeline.store.step import Step
from pipeline.store.store import Store, build_here

_ATTEMPTS = 3
Future = PrefectFuture[None]


class ClusterError(ProjectError, RuntimeError):
    """A stage that no worker of a cluster built: the task run says why."""


def build_on_cluster(
    cluster: ClusterConfig, store: Store, steps: Sequence[Step[Any]]
) -> tuple[Stage[Any], ...]:
    """Return the stages of several steps; those that are not finished are built on a cluster.

    Raises:
        InputError: when the cluster's package is not installed, or what a build raised.
        ClusterError: for a step that was sent several times in vain.
    """
    stages = [store.find(step) for step in steps]
    waiting = [step for step, stage in zip(steps, stages, strict=True) if stage is None]
    if waiting:
        _send(cluster, replace(store, root=store.root.absolute(), builder=build_here), waiting)
    return tuple(map(partial(_found, store), steps))


def _found(store: Store, step: Step[Any]) -> Stage[Any]:
    stage = store.find(step)
    if stage is None:
        raise ClusterError(
            f"{step.name}: a worker of the cluster finished {step.key}, and {store.root} does not "
            "hold it. Workers need the same runs_dir, or shared_stages."
        )
    return stage


def _send(cluster: ClusterConfig, store: Store, steps: Sequence[Step[Any]]) -> None:
    """Have a cluster build all steps, each a task run of a flow run of its own."""

    # Without arguments: they would be sent to the server.
    @flow(
        name="shards",
        flow_run_name=f"{steps[0].name} on {cluster.runner}",
        task_runner=_runner(cluster),
        validate_parameters=False,
        persist_result=False,
    )
    def build_all() -> None:
        left = list(steps)
        for attempt in range(1, _ATTEMPTS + 1):
            left = _build_once(store, left, is_last=attempt == _ATTEMPTS)
            if not left:
                return

    build_all()


def _build_once(store: Store, steps: Sequence[Step[Any]], *, is_last: bool) -> list[Step[Any]]:
    """Send each step once; return those whose worker did not finish it."""
    logger = get_run_logger()
    step_of = {_submit(store, step): step for step in steps}
    left: list[Step[Any]] = []
    for number, future in enumerate(as_completed(list(step_of)), 1):
        step = step_of[future]
        try:
            future.result()
        except ProjectError:
            raise
        # Exception: each runner has its own for a worker that is gone.
        except Exception as error:
            cause = first_line(error)
            if is_last:
                raise ClusterError(
                    f"{step.name} failed {_ATTEMPTS} times on the cluster: {cause}."
                ) from error
            logger.warning("%s: not finished (%s); sending it again", step.name, cause)
            left.append(step)
        else:
            logger.info("%s: %d of %d", step.name, number - len(left), len(steps))
    return left


def _submit(store: Store, step: Step[Any]) -> Future:
    @task(name=step.name, cache_policy=NO_CACHE, persist_result=False)
    def build_one() -> None:
        store.fetch(step.inputs)
        store.ensure(step)

    return build_one.submit()


def _runner(cluster: ClusterConfig) -> TaskRunner[Future]:
    """Return what sends tasks to a cluster, or to one that it starts here."""
    runner: TaskRunner[Future]
    try:
        runner = _ray(cluster) if cluster.runner == "ray" else _dask(cluster)
    except ImportError as error:
        raise InputError(
            f"cluster.runner: {error.name} is not installed, which {cluster.runner} needs. Install "
            f"it with pip install 'adapter-distill[{cluster.runner}]', or leave the table out."
        ) from error
    return runner


# Any: neither package has to be installed.
def _dask(cluster: ClusterConfig) -> Any:
    from prefect_dask import DaskTaskRunner

    if cluster.address:
        return DaskTaskRunner(address=cluster.address)
    own_page = "127.0.0.1:0"
    here = {"n_workers": cluster.workers, "threads_per_worker": 1, "dashboard_address": own_page}
    return DaskTaskRunner(cluster_kwargs=here)


# Any: as above.
def _ray(cluster: ClusterConfig) -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    from prefect_ray import RayTaskRunner

    if cluster.address:
        return RayTaskRunner(address=cluster.address)
    here = {"num_cpus": cluster.workers, "include_dashboard": False, "log_to_driver": False}
    return RayTaskRunner(init_kwargs=here)
