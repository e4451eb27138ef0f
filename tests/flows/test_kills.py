"""kill -9 in the middle of every stage and at its end: a second call makes the same files.

Each point is a run of its own, of configs/smoke.toml by `adapter-distill run`. The stages before
the point are finished already. The run is killed there and given once more.
"""

import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import psutil
import pytest
from support.installations import is_gone
from support.prefect_api import wait_for

from pipeline.chain.stage_names import StageName
from pipeline.store.digests import sha256_file

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("prefect")]

CHAIN = tuple(name for name in get_args(StageName) if name not in ("import", "fuse"))
TRAINED = {"finetune", "distill"}
"""Their middle is a checkpoint: the retry must go on from there."""
TIMED = {"quantize", "benchmark"}
"""Their facts hold times, which no two runs share; the files of the first are compared."""
ABOUT_TIME = {"README.md", "manifest.json"}
"""Files of the bundle: the card shows times, and the manifest has the card's digest."""
SETTINGS = (
    "finetune.epochs=6",
    "finetune.patience=99",
    "distill.epochs=4",
    "distill.patience=99",
    # So sure is no measurement: the fp32 file ships, and what is evaluated is the same each time.
    "quantize.confidence=0.999999",
    "benchmark.ladder_blocks=0",
    "benchmark.own_lengths=0",
)


class Run:
    """`adapter-distill run` in a folder of its own."""

    def __init__(self, runs: Path, overrides: list[str], server: str) -> None:
        self.runs = runs
        given = [*overrides, *SETTINGS, f"runs_dir={runs}"]
        self._command = [sys.executable, "-m", "flows.cli.main", "run", "configs/smoke.toml"]
        self._command += [part for each in given for part in ("--set", each)]
        self._environment = os.environ | {"PREFECT_API_URL": server}

    def start(self) -> psutil.Popen:
        """Start the command; what it says goes to ``run.log``."""
        with (self.runs / "run.log").open("ab") as log:
            return psutil.Popen(
                self._command, stdout=log, stderr=log, env=self._environment, cwd=Path.cwd()
            )

    def finish(self) -> str:
        """Give the command, expect its success, and return what it says."""
        process = self.start()
        code = process.wait(600)
        said = (self.runs / "run.log").read_text("utf-8", "replace")
        assert code == 0, said[-3000:]
        return said

    def is_partial(self, stage: str) -> bool:
        """Tell whether a stage is being built."""
        return any(self.runs.glob(f".stages/{stage}-*.partial"))

    def is_finished(self, stage: str) -> bool:
        """Tell whether a stage is under its final name, or the run under its."""
        if stage == "publish":
            return any(self.runs.glob("*-smoke"))
        return any(path.suffix != ".partial" for path in self.runs.glob(f".stages/{stage}-*"))

    def has_files(self, stage: str) -> bool:
        """Tell whether a stage that is being built has written something."""
        partial = self.runs.glob(f".stages/{stage}-*.partial")
        return any(path.is_file() for folder in partial for path in folder.rglob("*"))

    def has_checkpoint(self, stage: str) -> bool:
        """Tell whether a training has a whole checkpoint."""
        return any(self.runs.glob(f".stages/{stage}-*.partial/scratch/*/*-is-whole"))

    def is_publishing(self) -> bool:
        """Tell whether the run's folder is being written."""
        return any(self.runs.glob(".*-smoke.*.partial"))

    def records(self) -> dict[str, dict]:
        """Return the record of every finished stage, and its folder, by the stage's name."""
        paths = self.runs.glob(".stages/*/record.json")
        read = [json.loads(path.read_text()) | {"folder": path.parent} for path in paths]
        return {each["stage"]: each for each in read}

    def results(self) -> dict[str, object]:
        """Return the digests of all that two runs of one config must have in common."""
        found: dict[str, object] = {
            stage: record["digest"]
            for stage, record in self.records().items()
            if stage not in TIMED
        }
        found["quantize"] = self.records()["quantize"]["artifacts"]
        bundle = self.runs / "latest" / "student"
        found["bundle"] = {
            str(path.relative_to(bundle)): sha256_file(path)
            for path in bundle.rglob("*")
            if path.is_file() and path.name not in ABOUT_TIME
        }
        return found


def kill_when(process: psutil.Popen, is_due: Callable[[], bool], after_s: float) -> None:
    """Kill -9 so long after something is due, and wait until the process's children are gone."""
    due = None
    while process.poll() is None and (due is None or time.monotonic() < due):
        if due is None and is_due():
            due = time.monotonic() + after_s
        time.sleep(0.0005)
    children = process.children(recursive=True) if process.is_running() else []
    process.kill()
    process.wait(30)
    wait_for(lambda: all(map(is_gone, children)), seconds=30)


@pytest.fixture(scope="module")
def make_run(prefect_server, smoke_overrides, tmp_path_factory):
    """``make_run(before=())``: a run whose folder holds copies of these stages of another."""

    def make_run(*before: Path) -> Run:
        runs = tmp_path_factory.mktemp("kills")
        for folder in before:
            shutil.copytree(folder, runs / ".stages" / folder.name)
        return Run(runs, smoke_overrides, prefect_server)

    return make_run


@pytest.fixture(scope="module")
def undisturbed(make_run) -> Run:
    """A run that nothing happened to."""
    run = make_run()
    run.finish()
    assert tuple(sorted(run.records())) == tuple(sorted(CHAIN))
    return run


POINTS = [(stage, where) for stage in CHAIN for where in ("middle", "end")]


@pytest.mark.parametrize(("stage", "where"), [*POINTS, ("publish", "middle")])
def test_killed_run_goes_on_to_the_same_files(make_run, undisturbed, stage, where):
    records = undisturbed.records()
    before = CHAIN[: CHAIN.index(stage)] if stage in CHAIN else CHAIN
    finished = [records[each]["folder"] for each in before]
    run = kill_at(lambda: make_run(*finished), stage, where, records)
    killed = run.records()

    said = run.finish()

    assert set(killed) == {*before, *([stage] if where == "end" else [])}
    assert run.results() == undisturbed.results()
    if where == "middle" and stage in TRAINED:
        assert "continuing from checkpoint-" in said
    for name, record in killed.items():  # nothing is done twice
        assert run.records()[name] == record
    assert not list(run.runs.glob("**/*.partial"))
    assert len(list(run.runs.glob("*-smoke"))) == 1


def kill_at(make: Callable[[], Run], stage: str, where: str, records: dict[str, dict]) -> Run:
    """Return a run that was killed at a point; one that was past it is tried again, sooner."""
    for attempt in range(5):
        run = make()
        seconds = records[stage]["seconds"] / 2**attempt if stage in records else 0.0
        kill_when(run.start(), *due(run, stage, where, seconds if attempt else None))
        if where == "end" or not run.is_finished(stage):
            return run
    raise AssertionError(f"{stage} was finished at every attempt to kill it in its middle")


def due(
    run: Run, stage: str, where: str, seconds: float | None
) -> tuple[Callable[[], bool], float]:
    """Return what a point waits for, and how many seconds longer.

    A middle is the first checkpoint, or else the first file, or, with ``seconds``, so long after
    the stage's beginning.
    """
    if where == "end":
        return lambda: run.is_finished(stage), 0.0
    if stage == "publish":
        return run.is_publishing, 0.0
    if stage in TRAINED:
        return lambda: run.has_checkpoint(stage), 0.0
    if seconds is None:
        return lambda: run.has_files(stage), 0.0
    return lambda: run.is_partial(stage), seconds
