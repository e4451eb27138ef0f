"""Smaller students of one teacher: made, measured side by side, and one of them picked."""

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from prefect import flow

from flows.building import building
from flows.chain import (
    STAGES,
    MadeStudent,
    Taught,
    chain_stages,
    finish_run,
    last_value,
    student_stages,
    teacher_stages,
)
from flows.page.run import explain_failure, show_rows
from flows.stages.declaration import stage_task
from flows.stages.teacher import find_model
from pipeline.chain.sweep_files import list_files
from pipeline.chain.sweep_plan import PlannedStudent, plan_students, shipped_as
from pipeline.checkpoints.pretrained import count_layers
from pipeline.config import RunConfig
from pipeline.decisions.pick import decide_sweep
from pipeline.facts.sweep import StudentFile, Sweep, SweepQuality, SweepTimes
from pipeline.facts.variants import QuantizeFacts
from pipeline.report.sweep_page import PICKED, publish_sweep, table_rows
from pipeline.stages.sweep_latency import measure_latency
from pipeline.stages.sweep_quality import measure_quality
from pipeline.store.files import point_to
from pipeline.store.stage import Stage
from pipeline.store.store import Store
from pipeline.tasks.classification import SINGLE_LABEL as TASK
from pipeline.timing.ladder import TorchTeacher
from pipeline.timing.machine import describe_machine

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
        config: What to run; the table sweep says which students, and gate.min_quality and
            gate.max_latency_ms which of them is picked.
        time_again: Measure the latency anew, where it was measured on a busy machine.
    """
    with building(config.runs_dir / STAGES) as store:
        planned = plan_students(config, count_layers(find_model(config.teacher)))
        taught = last_value(teacher_stages(store, config))
        made = {}
        for number, student in enumerate(planned, 1):
            logger.info("student %d of %d: %s", number, len(planned), student.name)
            made[student.name] = last_value(student_stages(store, student.config, taught))
        sweep = _measure(store, config, taught, planned, made, time_again=time_again)
        folder = publish_sweep(config.runs_dir, sweep)
        show_rows(
            "smaller-students", table_rows(sweep), folder / "front.png", told=sweep.pick.reason
        )
        logger.info("%s", sweep.pick.reason)
        chosen = next((file for file in sweep.files if file.name == sweep.pick.name), None)
        if chosen is not None:
            student = next(each for each in planned if each.name == chosen.student)
            point_to(folder / PICKED, _finish(store, student, chosen, made[chosen.student]))
    return folder


def _finish(store: Store, student: PlannedStudent, chosen: StudentFile, made: MadeStudent) -> Path:
    """Bring the picked student to a run like any other, in its precision; return its folder."""
    config = shipped_as(student.config, chosen.precision, _quantized(made).facts)
    return finish_run(config, last_value(chain_stages(store, config))).folder


def _measure(
    store: Store,
    config: RunConfig,
    taught: Taught,
    planned: Sequence[PlannedStudent],
    made: dict[str, MadeStudent],
    *,
    time_again: bool,
) -> Sweep:
    files = [
        file
        for student in planned
        for file in list_files(
            student,
            _quantized(made[student.name]),
            config.sweep.precisions,
            parameters=made[student.name].student.facts.total_parameters,
        )
    ]
    quality = quality_stage(store, config, taught, made, files)
    times = latency_stage(store, config, taught, made, files, time_again=time_again)
    return decide_sweep(config, files, quality.facts, times.facts, metric=TASK.main_metric)


@stage_task("sweep-quality")
def quality_stage(
    store: Store,
    config: RunConfig,
    taught: Taught,
    made: dict[str, MadeStudent],
    files: Sequence[StudentFile],
) -> Stage[SweepQuality]:
    """Every file on the validation and on the test split."""
    build = partial(
        measure_quality,
        taught.data,
        _first(made).exported,
        _that_may_ship(files),
        config.evaluate,
        task=TASK,
        seed=config.seed,
    )
    settings = {
        "files": [(file.name, file.way) for file in files],
        "evaluate": config.evaluate,
        "seed": config.seed,
    }
    return store.ensure(
        "sweep-quality", build, SweepQuality, settings=settings, inputs=_inputs(taught, made)
    )


@stage_task("sweep-latency")
def latency_stage(
    store: Store,
    config: RunConfig,
    taught: Taught,
    made: dict[str, MadeStudent],
    files: Sequence[StudentFile],
    *,
    time_again: bool,
) -> Stage[SweepTimes]:
    """The time of a text in every file, in one measurement."""
    ladder = {"ladder_blocks": config.sweep.blocks, "seconds_per_cell": config.sweep.seconds}
    benchmark = config.benchmark.model_copy(update=ladder)
    build = partial(
        measure_latency,
        taught.data,
        _first(made).exported,
        _that_may_ship(files),
        TorchTeacher(folder=taught.teacher.folder, backbone=taught.backbone.folder),
        benchmark,
        max_length=config.data.max_length,
        seed=config.seed,
    )
    settings = {
        "files": [(file.name, file.way) for file in files],
        "benchmark": benchmark,
        "max_length": config.data.max_length,
        "seed": config.seed,
        "machine": describe_machine(),
    }
    return store.ensure(
        "sweep-latency",
        build,
        SweepTimes,
        settings=settings,
        inputs=_inputs(taught, made),
        again=time_again,
    )


def _inputs(taught: Taught, made: dict[str, MadeStudent]) -> list[Stage[object]]:
    return [taught.data, taught.teacher, *(_quantized(each) for each in made.values())]


def _first(made: dict[str, MadeStudent]) -> MadeStudent:
    return next(iter(made.values()))


def _that_may_ship(files: Sequence[StudentFile]) -> list[StudentFile]:
    return [file for file in files if file.refused is None]


def _quantized(made: MadeStudent) -> Stage[QuantizeFacts]:
    if made.quantized is None:
        raise TypeError("expected a quantized student, and a sweep's plan asks for it")
    return made.quantized
