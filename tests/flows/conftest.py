"""The command line, and a real installation: `adapter-distill up` and all it starts."""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from support.installations import COMMANDS, Installation
from support.prefect_api import free_port, wait_for

from flows.cli.main import main
from flows.up.installation import Ports
from pipeline.config.load import load_config


@pytest.fixture(name="wait_for")
def give_wait_for() -> Callable[..., Any]:
    """``wait_for(what, seconds=240)``: the first true value of ``what()``."""
    return wait_for


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """`adapter-distill up` on free ports, stopped by Ctrl-C when the session ends."""
    state = tmp_path_factory.mktemp("state")
    ports = Ports(server=free_port(), mlflow=free_port(), worker=free_port(), student=free_port())
    options = [f"--{name}-port={getattr(ports, name)}" for name in COMMANDS]
    command = [sys.executable, "-m", "flows.cli.main", "up"]
    said = state / "up.log"
    with said.open("wb") as log:
        up = subprocess.Popen(
            [*command, f"--state={state}", "--student=smoke", *options],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    found = Installation(
        up=psutil.Process(up.pid),
        ports=ports,
        state=state,
        # SQLite waits for a minute before the server says that it is busy.
        client=httpx.Client(base_url=f"http://127.0.0.1:{ports.server}/api", timeout=90),
    )
    try:
        wait_for(lambda: up.poll() is not None or "Ctrl-C stops" in said.read_text(), seconds=400)
        assert up.poll() is None, said.read_text()
        yield found
    finally:
        children = found.up.children(recursive=True) if up.poll() is None else []
        up.send_signal(signal.SIGINT)
        up.wait(90)
    _, left = psutil.wait_procs(children, timeout=10)
    assert left == []


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
