"""Shards on real Ray and Dask clusters of this machine, whose workers are killed."""

import random
import sys
import threading

import psutil
import pytest
from support.smoke_runs import SMOKE

from adapter_distill import run
from flows.chain import run_stage
from flows.cluster import build_on_cluster
from pipeline.chain.student_steps import soft_target_shards
from pipeline.config.cluster import ClusterConfig
from pipeline.config.load import load_config
from pipeline.errors import InputError
from pipeline.store.stage import RECORD
from pipeline.store.store import Store

pytestmark = [pytest.mark.xdist_group("prefect"), pytest.mark.usefixtures("prefect_server")]

SHARDS = 40
PACKAGES = {"ray": "prefect_ray", "dask": "prefect_dask"}


def workers_of(runner):
    """Return the processes that build shards: Ray's tasks, or what Dask's nannies started."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            command = " ".join(process.cmdline())
        except psutil.Error:
            continue
        # Ray's agents are called ray:: too, and without them its node dies.
        if command.startswith("ray::soft-") if runner == "ray" else "spawn_main" in command:
            found.append(process)
    return found


class Killer(threading.Thread):
    """Kills a random worker after every few shards, until it is told to stop."""

    def __init__(self, runner, root):
        super().__init__(daemon=True)
        self.runner, self.root = runner, root
        self.stopped, self.killed = threading.Event(), 0

    def run(self):
        rng = random.Random(0)
        while not self.stopped.wait(0.2):
            finished = len(list(self.root.glob(f"*/{RECORD}")))
            if finished >= 6 * (self.killed + 1) and (found := workers_of(self.runner)):
                rng.choice(found).kill()
                self.killed += 1


@pytest.fixture
def steps(smoke_overrides, smoke_stages, tiny_context):
    """Shards of the smoke chain's soft targets."""
    config = load_config(SMOKE, [*smoke_overrides, f"cluster.shards={SHARDS}"])
    return soft_target_shards(config, tiny_context, smoke_stages.data, smoke_stages.teacher)


@pytest.mark.slow
@pytest.mark.parametrize("runner", PACKAGES)
def test_killed_workers_cost_their_shards_alone(steps, runner, tmp_path):
    pytest.importorskip(PACKAGES[runner])
    alone = Store(root=tmp_path / "alone")
    expected = [alone.ensure(step).digest for step in steps]
    store = Store(root=tmp_path / "cluster")
    killer = Killer(runner, store.root)
    killer.start()
    found = build_on_cluster(ClusterConfig(shards=SHARDS, runner=runner), store, steps)
    killer.stopped.set()

    assert killer.killed >= 4
    assert [stage.digest for stage in found] == expected
    assert len(list(store.root.glob(f"*/{RECORD}"))) == SHARDS
    nowhere = ClusterConfig(runner=runner, address="ray://nowhere:1")
    assert [stage.reused for stage in build_on_cluster(nowhere, store, steps)] == [True] * SHARDS


@pytest.mark.slow
@pytest.mark.parametrize("runner", PACKAGES)
def test_shards_of_a_cluster_are_those_of_one_machine(smoke_overrides, seeded_runs, runner):
    pytest.importorskip(PACKAGES[runner])
    digests = []
    for where in ("none", runner):
        overrides = [*smoke_overrides, f"runs_dir={seeded_runs()}", "cluster.shards=3"]
        config = load_config(SMOKE, [*overrides, f"cluster.runner={where}"])
        folder = run_stage(config, "soft-targets").resolve()
        digests.append(sorted(path.read_bytes() for path in folder.glob("*soft_targets*")))

    assert digests[0] == digests[1] != []


def test_missing_package_is_named_with_its_extra(steps, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "prefect_ray", None)

    with pytest.raises(InputError, match=r"adapter-distill\[ray\]"):
        build_on_cluster(ClusterConfig(runner="ray"), Store(root=tmp_path), steps[:1])


def test_run_without_prefect_refuses_a_cluster(smoke_overrides):
    config = load_config(SMOKE, [*smoke_overrides, "cluster.runner=dask"])

    with pytest.raises(InputError, match=r"Leave cluster.runner out"):
        run(config)
