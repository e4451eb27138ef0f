"""What docker-compose.yml says, started as processes: to a served prediction, and through faults.

Needs PostgreSQL, MLflow and, for the scaled file, Redis with prefect-redis: scripts/faults.
"""

import importlib.util
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from support.prefect_api import Api
from support.topology import Topology, find_postgres, read_compose

from flows.up.installation import missing_services

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("topology")]

CHAIN = "adapter-to-student/on-demand"
SECRETS = {"PREFECT_AUTH": "somebody:a-secret", "POSTGRES_PASSWORD": "another-secret"}
CORE, SCALED = "docker-compose.yml", "docker-compose.scale.yml"


def topology_of(*files: str) -> Iterator[Topology]:
    """Start compose files' services; stop them, and expect that nothing is left over."""
    if find_postgres() is None:
        pytest.skip("PostgreSQL is missing: apt-get install postgresql")
    if missing_services():
        pytest.skip(f"extras are missing: pip install -e .[faults] ({missing_services()})")
    folder = Path(tempfile.mkdtemp(prefix="topology-"))
    folder.chmod(0o755)  # PostgreSQL has a user of its own
    found = Topology(services=read_compose(files, SECRETS | {"STUDENT": "smoke"}), folder=folder)
    try:
        found.start()
        yield found
    finally:
        left = found.stop()
    assert left == []
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def core() -> Iterator[Topology]:
    """docker-compose.yml alone."""
    yield from topology_of(CORE)


@pytest.fixture(scope="module")
def scaled() -> Iterator[Topology]:
    """docker-compose.yml with docker-compose.scale.yml over it."""
    if shutil.which("redis-server") is None or importlib.util.find_spec("prefect_redis") is None:
        pytest.skip("Redis is missing: apt-get install redis-server; pip install prefect-redis")
    yield from topology_of(CORE, SCALED)


def api_of(topology: Topology) -> Api:
    """Return a topology's API, with its password."""
    user, password = SECRETS["PREFECT_AUTH"].split(":")
    url = f"{topology.url('prefect-server')}/api"
    return Api(client=httpx.Client(base_url=url, auth=(user, password), timeout=60))


def is_training(config: dict[str, Any]) -> bool:
    """Tell whether a run's training has written a checkpoint."""
    return any(Path(config["runs_dir"]).glob(".stages/finetune-*/scratch/*/*-is-whole"))


def expect_run_outlives(topology: Topology, name: str, config: dict[str, Any]) -> None:
    """Kill a service in mid-training, start it again after 20 seconds, and wait for the run."""
    api = api_of(topology)
    run = api.start(CHAIN, config=config)
    api.wait_for(lambda: is_training(config))
    (process,) = topology.processes[name]
    process.kill()
    process.wait(30)
    time.sleep(20)
    topology.processes[name] = [topology.launch(name)]
    topology.wait_until(name, "service_healthy")
    assert api.wait(run)["type"] == "COMPLETED", api.logs(run)


def test_server_asks_for_the_password(core):
    url = f"{core.url('prefect-server')}/api/flows/filter"

    assert httpx.post(url, json={}).status_code == 401
    assert httpx.post(url, json={}, auth=("somebody", "guessed")).status_code == 401
    assert api_of(core).request("POST", "/flows/filter", json={}).status_code == 200


def test_second_bootstrap_changes_nothing(core):
    api = api_of(core)

    def there():
        """Return what a bootstrap makes, without the times at which it did."""
        pages = ("/deployments", "/automations", "/work_pools", "/v2/concurrency_limits")
        found = [api.request("POST", f"{page}/filter", json={}).json() for page in pages]
        return [sorted((each["id"], each["name"]) for each in page) for page in found]

    before = there()
    process = core.launch("bootstrap")

    assert process.wait(120) == 0, core.log("bootstrap")
    assert there() == before
    entries = yaml.safe_load(Path("prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    assert sorted(name for _, name in before[0]) == sorted(entry["name"] for entry in entries)
    assert [len(page) for page in before[1:]] == [2, 1, 2]  # one limit is the schedule's own


def test_deployment_runs_to_a_served_prediction(core, smoke_config):
    api, student = api_of(core), f"{core.url('serving')}/v2"
    before = httpx.get(f"{student}/health/ready").status_code
    config = smoke_config("release.register_run=true")
    run = api.start(CHAIN, config=config, release="if_gate_passes")

    assert before == 503
    assert api.wait(run)["type"] == "COMPLETED", api.logs(run)
    api.wait_for(lambda: httpx.get(f"{student}/health/ready").status_code == 200, seconds=60)
    answer = httpx.post(f"{student}/models/smoke/texts", json={"texts": ["a good film"]})
    assert answer.status_code == 200, answer.text
    assert answer.json()["predictions"][0]["label"] in config["data"]["labels"]
    link = api.artifacts(run)["report-in-mlflow"]["data"]
    asked = {"path": "report.html", "run_uuid": re.search(r"/runs/(\w+)/", link)[1]}
    assert core.url("mlflow") in link
    assert "<html" in httpx.get(f"{core.url('mlflow')}/get-artifact", params=asked).text


def test_run_outlives_a_database_that_dies(core, smoke_config):
    expect_run_outlives(core, "postgres", smoke_config())


def test_three_runs_at_once_all_finish(scaled, smoke_config):
    api, config = api_of(scaled), smoke_config("release.register_run=true")
    configs = [config | {"name": "smoke", "seed": seed} for seed in (1, 2, 3)]
    runs = [api.start(CHAIN, config=each, release="if_gate_passes") for each in configs]
    api.wait_for(lambda: {api.state_of(run)["type"] for run in runs} == {"RUNNING"})

    assert [api.wait(run, seconds=600)["type"] for run in runs] == ["COMPLETED"] * 3
    finished = Path(config["runs_dir"]).glob("*-smoke/report.json")
    assert len(list(finished)) == 3


def test_run_and_the_next_outlive_a_redis_that_dies(scaled, smoke_config):
    api, config = api_of(scaled), smoke_config()
    expect_run_outlives(scaled, "redis", config)

    # Every slot is free again, or the next run's benchmark would wait for ever.
    after = api.start(CHAIN, config=config | {"seed": 4})
    assert api.wait(after)["type"] == "COMPLETED", api.logs(after)
