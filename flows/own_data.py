"""The short forms: one's own table, or an adapter that is there; all else is proposed."""

from pathlib import Path

from prefect import flow
from prefect.logging import get_run_logger

from flows.approval import Release
from flows.chain import adapter_to_student
from flows.page.run import explain_failure
from pipeline.standalone.own_data import OwnAdapter, OwnData, propose_config


@flow(
    name="my-data",
    flow_run_name="{form.table}",
    validate_parameters=True,
    persist_result=False,
    on_failure=[explain_failure],
    on_crashed=[explain_failure],
)
def my_data(form: OwnData, release: Release = "never") -> Path:
    """Make a student for a table of your own: train adapters, absorb them, prove it.

    Args:
        form: The table; the rest is proposed by looking at it.
        release: What happens to a student that passed the gate. never: nothing; if_gate_passes:
            it becomes the champion at once; ask_me: the run waits for your answer, with the gate's
            numbers, and goes on after it.
    """
    return _run(form, release)


@flow(
    name="my-adapter",
    flow_run_name="{form.adapter}",
    validate_parameters=True,
    persist_result=False,
    on_failure=[explain_failure],
    on_crashed=[explain_failure],
)
def my_adapter(form: OwnAdapter, release: Release = "never") -> Path:
    """Absorb an adapter that you have into a student without adapters, and prove it.

    Args:
        form: The adapter, its backbone, and a table of texts and labels to measure it on.
        release: What happens to a student that passed the gate. never: nothing; if_gate_passes:
            it becomes the champion at once; ask_me: the run waits for your answer, with the gate's
            numbers, and goes on after it.
    """
    return _run(form, release)


def _run(form: OwnData | OwnAdapter, release: Release) -> Path:
    """Run the chain in this flow's own run, so that everything stands on its page."""
    config = propose_config(form)
    get_run_logger().info("%s: %s, %s", form.table, config.task, config.teacher.model)
    folder: Path = adapter_to_student.fn(config, release)
    return folder
