"""Smaller students of one teacher: made, measured side by side, and one of them picked."""

import logging
from pathlib import Path

from prefect import flow

from flows.building import building
from flows.chain import finish_run
from flows.page.run import explain_failure, show_rows
from flows.pools import refuse_pools
from flows.tasks import as_tasks
from pipeline.chain.chain import chain
from pipeline.chain.program import drive
from pipeline.chain.sweep import MeasuredSweep, quantized_stage, sweep
from pipeline.chain.sweep_plan import check_sweep, shipped_as
from pipeline.config import RunConfig
from pipeline.decisions.pick import decide_sweep
from pipeline.facts.sweep import StudentFile
from pipeline.report.sweep_page import PICKED, publish_sweep, sweep_rows
from pipeline.store.files import point_to
from pipeline.store.store import Store
from pipeline.tasks.all_tasks import find_task

logger = logging.getLogger("pipeline.sweep")  # streamed to the run's page, as what the stages log


@flow(
    name="sweep-students",
    flow_run_name="sweep-{config.name}",
    validate_parameters=True,
    persist_result=False,
    on_failure=[explain_failure],
    on_crashed=[explain_failure],
)
def sweep_students(config: RunConfig, time_again: bool = False) -> Path:
    """Make students of fewer layers, measure them, show the front, and finish the one to pick.

    Finished stages are used again, those of the whole chain too. A sweep in which no student meets
    the gate's limits is a completed run that says what comes nearest.

    Args:
        config: What to run; the table sweep says which students, or how many trials choose them.
            gate.min_quality and gate.max_latency_ms say which of them is picked.
        time_again: Measure the latency anew, where it was measured on a busy machine.
    """
    check_sweep(config)
    refuse_pools(config, "a sweep")
    with building(config) as store:
        measured = drive(sweep(config, time_again=time_again), as_tasks(store, config.cluster))
        decided = decide_sweep(
            config,
            measured.files,
            measured.quality.facts,
            measured.times.facts,
            metric=find_task(config.task).main_metric,
            study=measured.study,
        )
        folder = publish_sweep(config.runs_dir, decided)
        show_rows(
            "smaller-students",
            sweep_rows(decided),
            folder / "front.png",
            description=decided.pick.reason,
        )
        logger.info("%s", decided.pick.reason)
        chosen = next((file for file in decided.files if file.name == decided.pick.name), None)
        if chosen is not None:
            point_to(folder / PICKED, _finish(store, measured, chosen))
    return folder


def _finish(store: Store, measured: MeasuredSweep, chosen: StudentFile) -> Path:
    """Bring the picked student to a run like any other, in its precision; return its folder."""
    student = next(each for each in measured.planned if each.name == chosen.student)
    variants = quantized_stage(measured.students[chosen.student]).facts
    config = shipped_as(student.config, chosen.precision, variants)
    return finish_run(config, drive(chain(config), as_tasks(store, config.cluster))).folder
