"""Fixtures: the chain of configs/smoke.toml, finished once, and runs that begin with its stages."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from pipeline.chain.chain import chain
from pipeline.chain.finished import FinishedStages
from pipeline.chain.program import drive, perform
from pipeline.config.load import load_config
from pipeline.store.store import Store

SMOKE = Path("configs/smoke.toml")


@pytest.fixture(scope="session")
def smoke_overrides(tiny_checkpoint: Path, tiny_csv: Path) -> list[str]:
    """Values of ``--set`` with configs/smoke.toml, beside ``runs_dir``."""
    return [f"teacher.model={tiny_checkpoint}", f"data.train={tiny_csv}"]


@pytest.fixture(scope="session")
def smoke_stages(smoke_overrides: list[str], tiny_store: Store) -> FinishedStages:
    """The whole chain of configs/smoke.toml, driven with a store alone."""
    return drive(chain(load_config(SMOKE, smoke_overrides)), partial(perform, tiny_store))


@pytest.fixture(scope="session")
def seeded_runs(
    smoke_stages: FinishedStages, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[], Path]:
    """``seeded_runs()``: a new ``runs_dir`` that holds copies of `smoke_stages`."""

    def seeded_runs() -> Path:
        runs = tmp_path_factory.mktemp("runs")
        for stage in smoke_stages.all:
            shutil.copytree(stage.folder, runs / ".stages" / stage.folder.name)
        return runs

    return seeded_runs


@pytest.fixture(scope="session")
def smoke_run(
    prefect_server: str, smoke_overrides: list[str], seeded_runs: Callable[[], Path]
) -> Path:
    """The folder of a run of configs/smoke.toml; its parent is the ``runs_dir``."""
    # Imported here, because most workers never need it.
    from flows.chain import adapter_to_student

    assert prefect_server.startswith("http")
    overrides = [*smoke_overrides, f"runs_dir={seeded_runs()}"]
    return adapter_to_student(load_config(SMOKE, overrides))
