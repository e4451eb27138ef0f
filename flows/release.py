"""Registration, promotion and roll back as Prefect flows: the forms of the UI, and the chain's end.

On one machine, one promotion of a student runs at a time. If several machines promote on one MLflow
server, give the deployment of these flows a concurrency limit of one.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from prefect import flow, task
from prefect.artifacts import create_link_artifact, create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.logging import get_run_logger

from flows.names import MLFLOW_UI
from pipeline.config import RunConfig
from pipeline.errors import InputError
from pipeline.release.forms import PromotionForm, RollbackForm
from pipeline.release.marks import REFUSED, mark
from pipeline.release.promotion import Promotion, promote, roll_back
from pipeline.release.register import register
from pipeline.release.registry import Registry, Version, open_registry
from pipeline.release.standing import Standing, hold_against_champion
from pipeline.report.page import render_checks


@flow(name="promote-student", flow_run_name="{form.name}", validate_parameters=True)
def promote_student(form: PromotionForm) -> int:
    """Make a version the champion after every check; return its number.

    Args:
        form: Which student, and where.
    """
    registry = open_registry(form.registry, form.runs_dir)
    promotion = promote(
        registry,
        form.name,
        form.version,
        expected_champion=form.expect_champion,
        rule=form,
        force=form.force,
    )
    _show(promotion)
    return promotion.champion


@flow(name="roll-back-student", flow_run_name="{form.name}", validate_parameters=True)
def roll_back_student(form: RollbackForm) -> int:
    """Return to the champion before this one, and mark this one; return the former's number.

    Args:
        form: Which student, and where.
    """
    registry = open_registry(form.registry, form.runs_dir)
    promotion = roll_back(registry, form.name, form.reason)
    _show(promotion)
    return promotion.champion


@task(name="register", cache_policy=NO_CACHE, persist_result=False)
def register_run(config: RunConfig, run: Path) -> Version | None:
    """Register a finished run; its student is the challenger if it passed.

    A failure does not undo the run: it is logged with the command that tries again.
    """
    logger = get_run_logger()
    try:
        registry = open_registry(config.release.registry, config.runs_dir)
        version = register(registry, run)
        _link_to_mlflow(registry, version)
    except InputError as error:
        logger.error(
            "Not registered: %s Try again with adapter-distill models register %s", error, run
        )
        return None
    logger.info("%s version %d: %s", version.name, version.number, version.tags["verdict"])
    return version


@task(name="compare-with-champion", cache_policy=NO_CACHE, persist_result=False)
def stand_against_champion(config: RunConfig, version: Version) -> Standing:
    """Return how the registered student stands against the champion, where there is one."""
    try:
        return hold_against_champion(
            open_registry(config.release.registry, config.runs_dir), version, config.release
        )
    except InputError as error:
        return Standing(doubts=(f"Not compared with the champion: {error}",))


@task(name="mark-as-refused", cache_policy=NO_CACHE, persist_result=False)
def mark_refused(config: RunConfig, run: Path, reasons: Sequence[str]) -> None:
    """Mark a registered student that did not win against the champion.

    A run that is not registered has nothing to mark.
    """
    if not config.release.register_run:
        return
    try:
        registry = open_registry(config.release.registry, config.runs_dir)
        mark(registry, register(registry, run), REFUSED, " ".join(reasons))
    except InputError as error:
        get_run_logger().error("Not marked as refused: %s", error)


def _link_to_mlflow(registry: Registry, version: Version) -> None:
    """Link to the report in MLflow: a browser opens no file of the worker's from the run's page."""
    address = os.environ.get(MLFLOW_UI)
    if not address:
        return
    with registry.talking():
        experiment = registry.client.get_run(version.mlflow_run).info.experiment_id
    page = f"experiments/{experiment}/runs/{version.mlflow_run}/artifacts/report.html"
    create_link_artifact(
        key="report-in-mlflow",
        link=f"{address}/#/{page}",
        link_text=f"{version.name} version {version.number}",
        description="every number and plot, and the registered files, in MLflow",
    )


@task(name="release", cache_policy=NO_CACHE, persist_result=False)
def release_run(config: RunConfig, run: Path) -> bool:
    """Make a finished run's student the champion, after every check; return whether it is.

    A promotion that is refused leaves the champion in place, and says why in the log.
    """
    logger = get_run_logger()
    try:
        registry = open_registry(config.release.registry, config.runs_dir)
        version = register(registry, run)
        promotion = promote(registry, version.name, str(version.number), rule=config.release)
    except InputError as error:
        logger.warning("Not promoted: %s", error)
        return False
    _show(promotion)
    return True


def _show(promotion: Promotion) -> None:
    """Say who the champion is, and what was held against it."""
    what = f"champion of {promotion.name}: version {promotion.champion}"
    before = f"version {promotion.previous}" if promotion.previous else "none"
    table = f"\n\n{render_checks(promotion.checks)}" if promotion.checks else ""
    get_run_logger().info(what)
    create_markdown_artifact(
        key="champion",
        markdown=f"## {what[0].upper()}{what[1:]}\n\nBefore: {before}.{table}",
        description=what,
    )
