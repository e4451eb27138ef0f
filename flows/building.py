"""Builds of a flow run's stages: in a child process, shown on the run's page, within limits.

The data stage stays in this process. It trains nothing, and bad input is reported at once. A child
that dies is replaced once; the stage then continues from its last checkpoint.
"""

import errno
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

from prefect.concurrency.sync import concurrency
from prefect.context import FlowRunContext
from prefect.logging.handlers import APILogHandler

from flows.names import POOL, slots
from flows.page.progress import ShowProgress
from pipeline.chain.program import store_of
from pipeline.config import RunConfig
from pipeline.store.store import Facts, Store, build_here, keep_scratch
from pipeline.workers.child import BuildKilledError, BuildProcess, build_process
from pipeline.workers.heartbeat import heartbeat

logger = logging.getLogger("pipeline.building")  # streamed as what the stages log

LIMIT = "adapter-distill-compute"
"""Global concurrency limit: one slot for each stage that is built at the same time."""
_FULL_DISK_BYTES = 16 * 1024**2
_LEASE_SECONDS = 60.0
"""Seconds for which the slot of a killed run stays taken."""


@contextmanager
def building(config: RunConfig) -> Iterator[Store]:
    """Yield the store of a config's stages; its builds run in a child process.

    The child ends with the block, or with the command that has prepared it.

    The child's log appears in the flow run's log, and the progress of a training as an artifact.
    """
    with _streamed_logs(), build_process() as process:
        yield replace(store_of(config), builder=partial(_build, process))


def _build(process: BuildProcess, name: str, build: Callable[[Path], Facts], folder: Path) -> Facts:
    with _held_slots(name):
        if name == "data":
            with heartbeat(name):
                return build_here(name, build, folder)
        with _told_full_disk(folder):
            try:
                return process.run(name, build, folder)
            except BuildKilledError as error:
                logger.warning("%s Trying once more.", error)
                keep_scratch(folder)
                return process.run(name, build, folder)


@contextmanager
def _told_full_disk(folder: Path) -> Iterator[None]:
    """Re-raise the errors of torch and safetensors for a full disk as OSError(ENOSPC)."""
    try:
        yield
    except RuntimeError as error:
        is_full = shutil.disk_usage(folder).free < _FULL_DISK_BYTES
        if is_full or "I/O error" in str(error):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from error
        raise


def _held_slots(stage: str) -> AbstractContextManager[None]:
    """Return a context that waits for this stage's slots: all to measure, one for other stages."""
    context = FlowRunContext.get()
    run = context.flow_run if context else None
    if run is None or (run.deployment_id is None and run.parent_task_run_id is None):
        return nullcontext()  # started by hand: nobody has created limits
    if run.work_pool_name not in (None, POOL):
        return nullcontext()  # on another machine, whose worker has a limit of its own
    return concurrency(
        LIMIT,
        occupy=slots() if stage in ("benchmark", "compare", "sweep-latency") else 1,
        lease_duration=_LEASE_SECONDS,
        # A part of a run that was started by hand has no deployment: nobody has created limits.
        strict=run.deployment_id is not None,
        # A lost lease must not kill hours of training.
        raise_on_lease_renewal_failure=False,
    )


@contextmanager
def _streamed_logs() -> Iterator[None]:
    """Send the pipeline's log records to the flow run's page while the block runs."""
    pipeline = logging.getLogger("pipeline")
    level = pipeline.level
    handlers: list[logging.Handler] = [ShowProgress()]
    if not any(isinstance(handler, APILogHandler) for handler in pipeline.handlers):
        handlers.append(APILogHandler())
    for handler in handlers:
        pipeline.addHandler(handler)
    pipeline.setLevel(logging.INFO)
    try:
        yield
    finally:
        pipeline.setLevel(level)
        for handler in handlers:
            pipeline.removeHandler(handler)
