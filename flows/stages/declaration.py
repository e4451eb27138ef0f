"""How every stage is declared as a Prefect task, and what all stages with a model depend on.

A task asks the store for its stage, and the store builds it only where nothing equal is finished.
Prefect's own result cache stays out of it: it would not notice a changed file.
"""

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from huggingface_hub.constants import HF_HUB_OFFLINE
from prefect import Task, task
from prefect.cache_policies import NO_CACHE

from pipeline.checkpoints.pretrained import Checkpoint
from pipeline.config import RunConfig
from pipeline.errors import UnreachableError

P = ParamSpec("P")
R = TypeVar("R")


def stage_task(name: str, *, reaches_out: bool = False) -> Callable[[Callable[P, R]], Task[P, R]]:
    """Declare a function as the task of a stage.

    Args:
        name: What the run's page calls it.
        reaches_out: Whether it may need a hub; then it is tried three times.
    """
    return task(
        name=name,
        cache_policy=NO_CACHE,
        persist_result=False,
        retries=2 if reaches_out else 0,
        retry_delay_seconds=[5, 20],
        retry_condition_fn=_is_passing if reaches_out else None,
    )


def with_model(config: RunConfig, checkpoint: Checkpoint, **own: object) -> dict[str, object]:
    """Return a stage's own settings with those that every stage with a model depends on."""
    return {
        **own,
        "model": checkpoint.digest,
        "max_length": config.data.max_length,
        "seed": config.seed,
    }


# Any: Prefect's types of a condition's arguments are generic in the task.
def _is_passing(_task: Any, _run: Any, state: Any) -> bool:
    """Tell whether a failure may pass by itself: only what is outside this machine."""
    unreachable = isinstance(state.result(raise_on_failure=False), UnreachableError)
    return unreachable and not HF_HUB_OFFLINE
