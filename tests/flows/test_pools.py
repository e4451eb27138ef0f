"""Stages that another pool builds, on a real server, with a real worker of that pool."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import WorkPoolFilter, WorkPoolFilterName
from support.smoke_runs import SMOKE

from adapter_distill import run
from flows.chain import run_stage
from flows.compare import compare
from flows.pool_templates import PoolForm, create_pool
from flows.pools import PoolError, pooled
from flows.sweep import sweep_students
from pipeline.chain.stage_names import STAGES
from pipeline.config.load import load_config
from pipeline.errors import InputError

pytestmark = [pytest.mark.xdist_group("prefect"), pytest.mark.usefixtures("prefect_server")]


def config_with(overrides, runs, name="away", **pools):
    settings = [f'pools.{stage}="{pool}"' for stage, pool in pools.items()]
    return load_config(SMOKE, [*overrides, f"runs_dir={runs}", f"name={name}", *settings])


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        ("finetun", "there is no stage 'finetun'"),
        ("fuse", "this config has no stage fuse"),
        ("finetune", "has no work pool 'nowhere'.*pools create nowhere"),
    ],
)
def test_unknown_stage_or_pool_is_refused_before_anything_is_built(
    smoke_overrides, tmp_path, stage, said
):
    with pytest.raises(InputError, match=said):
        pooled(config_with(smoke_overrides, tmp_path, **{stage: "nowhere"}))


@pytest.mark.parametrize("start", [run, compare.fn, sweep_students.fn])
def test_what_builds_in_one_place_refuses_pools(smoke_overrides, tmp_path, start):
    with pytest.raises(InputError, match="Leave the table pools out"):
        start(config_with(smoke_overrides, tmp_path, finetune="gpu"))


@pytest.fixture(scope="module")
def worker_of(prefect_server, tmp_path_factory):
    """``worker_of(pool, home)``: a new pool, and a worker of it as a process of its own."""
    workers = []

    def worker_of(pool, home):
        create_pool(pool, PoolForm())
        environment = {
            **os.environ,
            "PREFECT_API_URL": prefect_server,
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "PREFECT_HOME": str(tmp_path_factory.mktemp("worker")),
            "ADAPTER_DISTILL_HOME": str(home),
        }
        command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool]
        workers.append(subprocess.Popen(command, env=environment, start_new_session=True))

    yield worker_of
    for worker in workers:
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()


def runs_on(pool):
    """Return the runs that were sent to a pool."""
    with get_client(sync_client=True) as client:
        return client.read_flow_runs(
            work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[pool]))
        )


def forget(runs, stage):
    """Remove a finished stage."""
    shutil.rmtree(next((runs / STAGES).glob(f"{stage}-*")))


@pytest.mark.slow
def test_stage_is_built_by_a_worker_of_the_other_pool_and_used_here(
    worker_of, smoke_overrides, seeded_runs, tmp_path
):
    runs = seeded_runs()
    forget(runs, "quantize")
    worker_of("other", tmp_path)

    config = config_with(smoke_overrides, runs, "away", quantize="other")

    link = run_stage(config, "quantize")

    assert link.resolve().parent == (runs / STAGES).resolve()
    (there,) = runs_on("other")
    assert there.state.message == link.resolve().name
    # What is finished here is not asked for again.
    assert run_stage(config, "evaluate").is_dir()
    assert len(runs_on("other")) == 1


@pytest.mark.slow
def test_pool_whose_workers_have_another_disk_is_told(
    worker_of, smoke_overrides, seeded_runs, tmp_path, monkeypatch
):
    config = config_with(smoke_overrides, "here", "far", **{"head-only": "far"})
    monkeypatch.chdir(tmp_path)
    runs = seeded_runs()
    (tmp_path / "here").symlink_to(runs)
    (tmp_path / "there").mkdir()
    forget(runs, "head-only")
    worker_of("far", tmp_path / "there")

    with pytest.raises(PoolError, match="need the same runs_dir"):
        run_stage(config, "head-only")


@pytest.mark.slow
def test_run_that_waits_is_ended_with_the_run_that_it_waits_for(smoke_overrides, seeded_runs):
    runs = seeded_runs()
    forget(runs, "quantize")
    create_pool("without-workers", PoolForm())
    config = config_with(smoke_overrides, runs, "waiting", quantize="without-workers")

    def interrupt():
        while not runs_on("without-workers"):
            time.sleep(0.5)
        time.sleep(2)
        signal.raise_signal(signal.SIGINT)

    # A background shell starts its commands with the signal ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        run_stage(config, "quantize")

    (waiting,) = runs_on("without-workers")
    assert waiting.state_type.value == "CANCELLED"
