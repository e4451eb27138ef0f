"""Whole runs, in this process and without Prefect: from a config to a report with a verdict."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from adapter_distill.bars import without_foreign_bars
from adapter_distill.bundles import Model, load
from adapter_distill.texts import Folder
from pipeline.config import RunConfig
from pipeline.errors import InputError

if TYPE_CHECKING:  # the report's classes bring in every stage's facts
    from pipeline.report.report import Report

logger = logging.getLogger("pipeline.run")  # shown as what the stages log


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """A finished run, in its folder."""

    folder: Path
    report: "Report"
    """Every number of the run, and the verdict with its reasons."""

    @property
    def passed(self) -> bool:
        """Whether the student passed the gate."""
        return self.report.verdict == "passed"

    def load(self) -> Model:
        """Return the student of this run, ready to predict."""
        return load(self.folder / "student")


def run(config: Folder | RunConfig, overrides: Sequence[str] = ()) -> Run:
    """Return a finished run of a config; finished stages of earlier runs are used again.

    A student that the gate refuses is a finished run with a verdict. The student is registered
    where ``release.register_run`` says so.

    >>> found = run("smoke.toml", ["name=from-python"])
    >>> found.passed, found.report.name
    (True, 'from-python')
    >>> found.load().predict(["a good film"])[0]["label"] in ("negative", "positive")
    True

    Args:
        config: TOML file, or a config in memory.
        overrides: Settings of the file to change, as ``key=value``, such as
            ``finetune.epochs=5``.

    Raises:
        InputError: for a setting, a source or a model that cannot be used.
    """
    from pipeline.config.load import load_config
    from pipeline.report.report import Report

    if not isinstance(config, RunConfig):
        config = load_config(Path(config), list(overrides))
    elif overrides:
        raise InputError("overrides= belongs to a TOML file. Change the config in memory itself.")
    if config.cluster.runner != "none":
        raise InputError(
            f"cluster.runner: a run without Prefect builds every shard here, and this config sends "
            f"them to {config.cluster.runner}. Leave cluster.runner out."
        )
    if config.pools:
        raise InputError(
            "pools: a run without Prefect builds every stage here, and this config sends "
            f"{', '.join(config.pools)} away. Leave the table pools out."
        )
    with without_foreign_bars():
        folder = _run(config)
    text = (folder / "report.json").read_text(encoding="utf-8")
    return Run(folder=folder, report=Report.model_validate_json(text))


def _run(config: RunConfig) -> Path:
    """Run every stage that is not finished yet, decide, and return the run's folder."""
    from pipeline.chain.chain import chain
    from pipeline.chain.decide import decide_run
    from pipeline.chain.outlook import stages_of, with_outlook
    from pipeline.chain.program import drive, perform, store_of
    from pipeline.report.publish import publish

    with with_outlook(store_of(config), stages_of(config)) as store:
        finished = drive(chain(config), partial(perform, store))
    folder = publish(config, finished, decide_run(finished, config.gate))
    if config.release.register_run:
        _register(config, folder)
    return folder


def _register(config: RunConfig, folder: Path) -> None:
    """Register a finished run; a registry that is away is logged, and does not undo the run."""
    from pipeline.release.register import register
    from pipeline.release.registry import open_registry

    try:
        version = register(open_registry(config.release.registry, config.runs_dir), folder)
    except InputError as error:
        logger.error(
            "Not registered: %s Try again with adapter-distill models register %s", error, folder
        )
        return
    logger.info("%s version %d: %s", version.name, version.number, version.tags["verdict"])
