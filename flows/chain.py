"""The whole chain as one Prefect flow, from texts to a gated ONNX student; and a part of it."""

from dataclasses import dataclass
from pathlib import Path

from prefect import flow
from prefect.logging import get_run_logger

from flows.approval import Release, ask, check_can_ask
from flows.building import building
from flows.page.run import explain_failure, show_report
from flows.pools import pooled
from flows.publishing import publish_once
from flows.release import register_run, release_run, stand_against_champion
from flows.tasks import as_tasks
from pipeline.chain.chain import chain, why_no_stage
from pipeline.chain.decide import decide_run
from pipeline.chain.finished import FinishedStages
from pipeline.chain.outlook import stages_of, with_outlook
from pipeline.chain.program import drive, progress
from pipeline.chain.stage_names import StageName
from pipeline.config import RunConfig
from pipeline.decisions.check import Decision
from pipeline.errors import InputError
from pipeline.release.registry import Version
from pipeline.release.standing import Standing
from pipeline.report.page import render_checks
from pipeline.store.files import point_to


@dataclass(frozen=True, kw_only=True, slots=True)
class FinishedRun:
    """A run whose folder is written."""

    folder: Path
    decision: Decision
    version: Version | None
    """Version of its student in the registry; None where it could not be registered."""


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

    Existing adapters are imported or fused instead of fine-tuned.

    A student that the gate refuses is a completed run with a verdict, not a failure.

    Args:
        config: What to run: the tables of a TOML config, as groups.
        release: Release of a student that passed the gate. With never, nothing happens. With
            if_gate_passes it becomes the champion at once. With ask_me the run shows the gate's
            numbers, waits for your answer, and then continues.
    """
    check_can_ask(release)
    elsewhere = pooled(config)
    with building(config) as store, with_outlook(store, stages_of(config)) as watched:
        finished = drive(chain(config), as_tasks(watched, config.cluster, elsewhere))
    run = finish_run(config, finished)
    if run.decision.passed and release != "never":
        _release(config, run, release)
    return run.folder


def _release(config: RunConfig, run: FinishedRun, release: Release) -> None:
    """Release a student that passed, or ask first; never offer what a promotion would refuse."""
    standing = stand_against_champion(config, run.version) if run.version else Standing()
    if standing.refusals:
        get_run_logger().warning(
            "Not promoted: %s adapter-distill models promote --help says what overrides it.",
            " ".join(standing.refusals),
        )
        return
    table = render_checks((*run.decision.checks, *standing.checks))
    if ask(release, title=f"Release {run.folder.name}?", report=table):
        release_run(config, run.folder)


def finish_run(config: RunConfig, finished: FinishedStages) -> FinishedRun:
    """Decide on a run, write its folder, show and register it."""
    decision = decide_run(finished, config.gate)
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
    """Bring one stage and its inputs up to date; finished stages are reused.

    ``runs_dir/NAME.STAGE`` leads to its folder from then on.

    Args:
        config: What to run: the tables of a TOML config, as groups.
        stage: The stage to end with.
    """
    if reason := why_no_stage(config, stage):
        raise InputError(f"This config has no stage {stage}, because {reason}.")
    elsewhere = pooled(config)
    with building(config) as store:
        for finished in progress(chain(config), as_tasks(store, config.cluster, elsewhere)):
            if finished.name == stage:
                link = config.runs_dir / f"{config.name}.{stage}"
                point_to(link, finished.folder)
                get_run_logger().info("%s: %s", stage, link)
                return link
    raise RuntimeError(f"the chain ended without the stage {stage}")
