"""The whole chain as one Prefect flow, from texts to a gated ONNX student; and a part of it."""

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from prefect import flow
from prefect.logging import get_run_logger

from flows.approval import Release, ask, check_can_ask
from flows.building import building
from flows.page.run import explain_failure, show_report
from flows.publishing import publish_once
from flows.release import champion_checks, register_run, release_run
from flows.stages.proof import benchmark_stage, evaluate_stage, export_stage, quantize_stage
from flows.stages.student import absorb_stage, distill_stage, soft_targets_stage
from flows.stages.teacher import (
    data_stage,
    find_adapters,
    find_model,
    finetune_stage,
    fuse_stage,
    head_only_stage,
    import_stage,
)
from pipeline.chain.finished import Finished
from pipeline.chain.names import StageName
from pipeline.checkpoints.pretrained import Checkpoint
from pipeline.config import AdapterSource, RunConfig
from pipeline.decisions.check import Decision
from pipeline.decisions.gate import decide
from pipeline.errors import InputError
from pipeline.facts.absorption import AbsorbFacts
from pipeline.facts.data import DataFacts
from pipeline.facts.export import ExportFacts
from pipeline.facts.training import SoftTargetFacts, StudentFacts, TeacherFacts
from pipeline.facts.variants import QuantizeFacts
from pipeline.release.registry import Version
from pipeline.report.page import render_checks
from pipeline.store.files import point_to
from pipeline.store.stage import Stage
from pipeline.store.store import Store
from pipeline.tasks.classification import SINGLE_LABEL

Value = TypeVar("Value")

STAGES = ".stages"
"""Folder of finished stages, inside ``runs_dir``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FinishedRun:
    """A run whose folder is written."""

    folder: Path
    decision: Decision
    version: Version | None
    """Of its student in the registry, where it could be registered."""


@flow(
    name="adapter-to-student",
    flow_run_name="{config.name}",
    validate_parameters=True,
    persist_result=False,
    on_failure=[explain_failure],
    on_crashed=[explain_failure],
)
def adapter_to_student(config: RunConfig, release: Release = "never") -> Path:
    """Fine-tune adapters, distil them into an adapter-free student, export, measure, decide.

    Adapters that there are already are imported or fused instead of fine-tuned.

    A student that the gate refuses is a completed run with a verdict, not a failure.

    Args:
        config: What to run: the tables of a TOML config, as groups.
        release: What happens to a student that passed the gate. never: nothing; if_gate_passes:
            it becomes the champion at once; ask_me: the run waits for your answer, with the gate's
            numbers, and goes on after it.
    """
    check_can_ask(release)
    with building(config.runs_dir / STAGES) as store:
        finished = last_value(chain_stages(store, config))
    run = finish_run(config, finished)
    if run.decision.passed and release != "never":
        held = champion_checks(config, run.version) if run.version else ()
        table = render_checks((*run.decision.checks, *held))
        if ask(release, title=f"Release {run.folder.name}?", report=table):
            release_run(config, run.folder)
    return run.folder


def finish_run(config: RunConfig, finished: Finished) -> FinishedRun:
    """Decide on a run, write its folder, show and register it."""
    decision = decide(
        finished.evaluation.facts,
        finished.benchmark.facts,
        config.gate,
        main_metric=SINGLE_LABEL.main_metric,
        shipped_arm=finished.shipped_arm,
    )
    folder = publish_once(config, finished, decision)
    show_report(folder)
    get_run_logger().info("%s: %s", "passed" if decision.passed else "refused", folder)
    version = register_run(config, folder) if config.release.register_run else None
    return FinishedRun(folder=folder, decision=decision, version=version)


@flow(
    name="run-stage",
    flow_run_name="{config.name}-{stage}",
    validate_parameters=True,
    persist_result=False,
    on_failure=[explain_failure],
    on_crashed=[explain_failure],
)
def run_stage(config: RunConfig, stage: StageName) -> Path:
    """Bring one stage up to date, and whatever it needs; finished stages are reused.

    ``runs_dir/NAME.STAGE`` leads to its folder from then on.

    Args:
        config: What to run: the tables of a TOML config, as groups.
        stage: The stage to end with.
    """
    if reason := _why_not(config, stage):
        raise InputError(f"This config has no stage {stage}: {reason}.")
    with building(config.runs_dir / STAGES) as store:
        for finished in chain_stages(store, config):
            if finished.name == stage:
                link = config.runs_dir / f"{config.name}.{stage}"
                point_to(link, finished.folder)
                get_run_logger().info("%s: %s", stage, link)
                return link
    raise RuntimeError(f"the chain ended without the stage {stage}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Taught:
    """What the chain begins with, and all students of one teacher share."""

    backbone: Checkpoint
    data: Stage[DataFacts]
    head_only: Stage[TeacherFacts]
    teacher: Stage[TeacherFacts]


@dataclass(frozen=True, kw_only=True, slots=True)
class MadeStudent:
    """A student, and the files that may ship."""

    absorbed: Stage[AbsorbFacts] | None
    targets: Stage[SoftTargetFacts]
    student: Stage[StudentFacts]
    exported: Stage[ExportFacts]
    quantized: Stage[QuantizeFacts] | None


def chain_stages(store: Store, config: RunConfig) -> Generator[Stage[object], None, Finished]:
    """Yield each stage as it is finished, in the order of the chain; return all of them."""
    taught = yield from teacher_stages(store, config)
    made = yield from student_stages(store, config, taught)
    data, teacher, exported, quantized = taught.data, taught.teacher, made.exported, made.quantized
    evaluation = evaluate_stage(store, config, data, exported, quantized)
    yield evaluation
    latency = benchmark_stage(store, config, data, teacher, exported, quantized, taught.backbone)
    yield latency
    return Finished(
        data=data,
        head_only=taught.head_only,
        teacher=teacher,
        absorbed=made.absorbed,
        student=made.student,
        exported=exported,
        quantized=quantized,
        evaluation=evaluation,
        benchmark=latency,
        others=(made.targets,),
    )


def teacher_stages(store: Store, config: RunConfig) -> Generator[Stage[object], None, Taught]:
    """Yield the stages up to the teacher, and return them."""
    backbone = find_model(config.teacher)
    if isinstance(config.teacher.adapter, AdapterSource):
        find_adapters(config.teacher.adapter)
    data = data_stage(store, config)
    yield data
    head_only = head_only_stage(store, config, data, backbone)
    yield head_only
    teacher = _teacher(store, config, data, head_only, backbone)
    yield teacher
    return Taught(backbone=backbone, data=data, head_only=head_only, teacher=teacher)


def student_stages(
    store: Store, config: RunConfig, taught: Taught
) -> Generator[Stage[object], None, MadeStudent]:
    """Yield the stages from the teacher to the student's files, and return them."""
    data, teacher, backbone = taught.data, taught.teacher, taught.backbone
    pretrained = find_model(config.student.model) if config.student.model else backbone
    absorbed = None
    # Only a student of the backbone's own layers has the sites that absorb.
    if config.absorb.enabled and config.student.model is None:
        absorbed = absorb_stage(store, config, data, teacher, backbone)
        yield absorbed
    targets = soft_targets_stage(store, config, data, teacher, backbone)
    yield targets
    student = distill_stage(store, config, data, teacher, targets, absorbed, pretrained)
    yield student
    exported = export_stage(store, config, data, taught.head_only, teacher, student, backbone)
    yield exported
    quantized = None
    if config.quantize.enabled:
        quantized = quantize_stage(store, config, data, exported)
        yield quantized
    return MadeStudent(
        absorbed=absorbed, targets=targets, student=student, exported=exported, quantized=quantized
    )


def _teacher(
    store: Store,
    config: RunConfig,
    data: Stage[DataFacts],
    head_only: Stage[TeacherFacts],
    backbone: Checkpoint,
) -> Stage[TeacherFacts]:
    match _way_to_teacher(config):
        case "finetune":
            return finetune_stage(store, config, data, head_only, backbone)
        case "fuse":
            return fuse_stage(store, config, data, head_only, backbone)
        case "import":
            return import_stage(store, config, data, backbone)


def _way_to_teacher(config: RunConfig) -> Literal["finetune", "import", "fuse"]:
    """Return the stage that makes the teacher."""
    adapter = config.teacher.adapter
    if not isinstance(adapter, AdapterSource):
        return "finetune"
    return "import" if adapter.trained_as is None else "fuse"


def _why_not(config: RunConfig, stage: StageName) -> str | None:
    """Return why a config has no such stage; None if it has."""
    way = _way_to_teacher(config)
    if stage in ("finetune", "import", "fuse") and stage != way:
        return f"by its teacher.adapter, the stage {way} makes the teacher"
    if stage == "absorb" and not (config.absorb.enabled and config.student.model is None):
        return "absorb.enabled is off, or student.model is another one than the teacher's"
    if stage == "quantize" and not config.quantize.enabled:
        return "quantize.enabled is off"
    return None


def last_value(stages: Generator[Stage[object], None, Value]) -> Value:
    """Run all stages and return what the generator returns."""
    while True:
        try:
            next(stages)
        except StopIteration as end:
            value: Value = end.value
            return value
