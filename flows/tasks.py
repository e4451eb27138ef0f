"""Every item of a program as a Prefect task.

A step's task asks the store for its stage, and the store builds it only where nothing equal is
finished. Prefect's own result cache stays out of it: it would not notice a changed file.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from huggingface_hub.constants import HF_HUB_OFFLINE
from prefect import task
from prefect.cache_policies import NO_CACHE

from flows.cluster import build_on_cluster
from pipeline.chain.program import Independent, Item, Lookup, Perform, perform
from pipeline.config.cluster import ClusterConfig
from pipeline.errors import UnreachableError
from pipeline.store.stage import Stage
from pipeline.store.step import Step
from pipeline.store.store import Store

Elsewhere = Mapping[str, Callable[[Store, Step[Any]], Stage[Any]]]
"""Builders of stages that are not built here, by stage."""


def as_tasks(store: Store, cluster: ClusterConfig, elsewhere: Elsewhere | None = None) -> Perform:
    """Return what drives a program so that each item is a task of the flow run."""
    return partial(_run_as_tasks, store, cluster, elsewhere or {})


def _run_as_tasks(store: Store, cluster: ClusterConfig, elsewhere: Elsewhere, item: Item) -> Any:
    if not isinstance(item, Independent):
        return _run_as_task(store, elsewhere, item)
    if cluster.runner != "none":
        return build_on_cluster(cluster, store, item.steps)
    return tuple(_run_as_task(store, elsewhere, step) for step in item.steps)


def _run_as_task(store: Store, elsewhere: Elsewhere, item: Step[Any] | Lookup[Any]) -> Any:
    reaches_out = isinstance(item, Lookup) or item.reaches_out

    # Without arguments: Prefect would search them for futures, deep into every record.
    @task(
        name=item.name,
        cache_policy=NO_CACHE,
        persist_result=False,
        retries=2 if reaches_out else 0,
        retry_delay_seconds=[5, 20],
        retry_condition_fn=_is_transient if reaches_out else None,
    )
    def run_item() -> Any:
        away = elsewhere.get(item.name) if isinstance(item, Step) else None
        if away is not None and isinstance(item, Step):
            return store.find(item) or away(store, item)
        return perform(store, item)

    return run_item()


# Any: Prefect's types of a condition's arguments are generic in the task.
def _is_transient(_task: Any, _run: Any, state: Any) -> bool:
    """Return whether a failure may pass by itself: only one outside this machine may."""
    unreachable = isinstance(state.result(raise_on_failure=False), UnreachableError)
    return unreachable and not HF_HUB_OFFLINE
