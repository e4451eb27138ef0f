"""The command line, and a real installation: `adapter-distill up` and all it starts."""

import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.installations import Installation, starting
from support.prefect_api import wait_for

from flows.cli.main import main
from pipeline.config.load import load_config


@pytest.fixture(name="wait_for")
def give_wait_for() -> Callable[..., Any]:
    """``wait_for(what, seconds=240)``: the first true value of ``what()``."""
    return wait_for


# One for each file: an idle one takes a twentieth of a core from the tests after it.
@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """`adapter-distill up` on free ports, stopped by Ctrl-C after the tests of a file."""
    with starting(tmp_path_factory.mktemp("state"), "--student=smoke") as found:
        yield found


@pytest.fixture(scope="session")
def smoke_config(smoke_overrides: list[str], tmp_path_factory: pytest.TempPathFactory):
    """``smoke_config()``: configs/smoke.toml as a form sends it, with a ``runs_dir`` of its own.

    Its fine-tuning has so many checkpoints that a test can interfere between two of them.
    """

    def smoke_config(*overrides: str) -> dict[str, Any]:
        slow = ["finetune.epochs=30", "finetune.patience=99"]
        runs = f"runs_dir={tmp_path_factory.mktemp('runs')}"
        config = load_config(
            Path("configs/smoke.toml"), [*smoke_overrides, *slow, runs, *overrides]
        )
        return config.model_dump(mode="json")

    return smoke_config


@pytest.fixture
def cli(monkeypatch, capfd):
    """``cli(*arguments)``: exit code, standard output and standard error of the command line."""
    environment = dict(os.environ)
    names = ("pipeline", "prefect.flow_runs", "prefect.task_runs")
    loggers = [logging.getLogger(name) for name in names]
    before = [(each.level, each.propagate, list(each.handlers)) for each in loggers]

    def cli(*arguments):
        monkeypatch.setattr(sys, "argv", ["adapter-distill", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        return (stop.value.code, *capfd.readouterr())

    yield cli
    for each, (level, propagates, handlers) in zip(loggers, before, strict=True):
        each.setLevel(level)
        each.propagate = propagates
        each.handlers[:] = handlers
    os.environ.clear()
    os.environ.update(environment)
