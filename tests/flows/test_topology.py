"""Services of docker-compose.yml as processes: to a served prediction, and through faults.

Needs PostgreSQL, MLflow and, for the scaled file, Redis with prefect-redis: scripts/faults.
"""

import importlib.util
import re
import shutil
import ssl
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
ODD = "%40 @:/?#[]$&+='\"\\"
"""Characters that would end or change a URL, a file of settings or YAML."""
SECRETS = {
    "PREFECT_AUTH": f"somebody:a{ODD}secret",
    "POSTGRES_PASSWORD": f"another{ODD}secret",
    "MLFLOW_PASSWORD": f"a-third{ODD}secret",
    "MLFLOW_SECRET_KEY": f"a-fourth{ODD}secret",
    "ADAPTER_DISTILL_TOKEN": "a-token",
}
REGISTRY_LOGIN = ("admin", SECRETS["MLFLOW_PASSWORD"])
CORE, SCALED, PUBLIC = "docker-compose.yml", "docker-compose.scale.yml", "docker-compose.tls.yml"


def topology_of(*files: str, workers: int = 1) -> Iterator[Topology]:
    """Start compose files' services; stop them, and expect that nothing is left over."""
    if find_postgres() is None:
        pytest.skip("PostgreSQL is missing: apt-get install postgresql")
    if missing_services():
        pytest.skip(f"extras are missing: pip install -e .[faults] ({missing_services()})")
    folder = Path(tempfile.mkdtemp(prefix="topology-"))
    folder.chmod(0o755)  # PostgreSQL has a user of its own
    given = {
        "STUDENT": "smoke",
        "WORKERS": str(workers),
        "DOMAIN": "example.test",
        "TLS": "internal",
    }
    found = Topology(services=read_compose(files, SECRETS | given), folder=folder)
    try:
        found.start()
        yield found
    finally:
        left = found.stop()
    assert left == []
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def core() -> Iterator[Topology]:
    """docker-compose.yml, behind the proxy where there is one."""
    yield from topology_of(CORE, *([PUBLIC] if shutil.which("caddy") else []))


@pytest.fixture(scope="module")
def scaled() -> Iterator[Topology]:
    """docker-compose.yml with docker-compose.scale.yml over it."""
    if shutil.which("redis-server") is None or importlib.util.find_spec("prefect_redis") is None:
        pytest.skip("Redis is missing: apt-get install redis-server; pip install prefect-redis")
    yield from topology_of(CORE, SCALED, workers=3)


def api_of(topology: Topology) -> Api:
    """Return a topology's API, with its password."""
    user, _, password = SECRETS["PREFECT_AUTH"].partition(":")
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
    assert api.wait(run, seconds=600)["type"] == "COMPLETED", api.logs(run)


def test_server_asks_for_the_password(core):
    url = f"{core.url('prefect-server')}/api/flows/filter"

    assert httpx.post(url, json={}).status_code == 401
    assert httpx.post(url, json={}, auth=("somebody", "guessed")).status_code == 401
    assert api_of(core).request("POST", "/flows/filter", json={}).status_code == 200


def test_registry_asks_for_the_password(core):
    url = f"{core.url('mlflow')}/api/2.0/mlflow/experiments/search"
    asked = {"json": {"max_results": 1}}

    assert httpx.post(url, **asked).status_code == 401
    assert httpx.post(url, **asked, auth=("admin", "guessed")).status_code == 401
    assert httpx.post(url, **asked, auth=REGISTRY_LOGIN).status_code == 200
    assert not (core.folder / "data" / "mlflow.db").exists()  # it is in PostgreSQL


def test_proxy_speaks_for_every_server_over_tls(core):
    if "proxy" not in core.services:
        pytest.skip("Caddy is missing: apt-get install caddy")
    (root,) = core.folder.rglob("pki/authorities/local/root.crt")
    trusted = ssl.create_default_context(cafile=root)

    def ask(name: str, path: str) -> httpx.Response:
        host = f"{name}.example.test"
        with httpx.Client(verify=trusted) as client:
            return client.get(
                f"{core.url('proxy')}{path}",
                headers={"Host": host},
                extensions={"sni_hostname": host},
            )

    assert ask("prefect", "/api/flows/count").status_code in (401, 405)
    assert ask("prefect", "/ui-settings").json()["api_url"] == "https://prefect.example.test/api"
    assert ask("mlflow", "/").status_code == 401
    assert ask("students", "/v2/health/live").status_code == 200


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
    assert api.wait(run, seconds=600)["type"] == "COMPLETED", api.logs(run)
    api.wait_for(lambda: httpx.get(f"{student}/health/ready").status_code == 200, seconds=60)
    asked = {"url": f"{student}/models/smoke/texts", "json": {"texts": ["a good film"]}}
    token = {"Authorization": f"Bearer {SECRETS['ADAPTER_DISTILL_TOKEN']}"}
    assert httpx.post(**asked).status_code == 401
    answer = httpx.post(**asked, headers=token)
    assert answer.status_code == 200, answer.text
    assert answer.json()["predictions"][0]["label"] in config["data"]["labels"]
    link = api.artifacts(run)["report-in-mlflow"]["data"]
    page = {"path": "report.html", "run_uuid": re.search(r"/runs/(\w+)/", link)[1]}
    shown = httpx.get(f"{core.url('mlflow')}/get-artifact", params=page, auth=REGISTRY_LOGIN)
    assert core.services["worker"]["environment"]["ADAPTER_DISTILL_MLFLOW_UI"] in link
    assert "<html" in shown.text


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
