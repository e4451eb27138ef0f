"""The registry on an MLflow server, by HTTP alone: what several machines share.

The server is not part of the installation that is tested (`mlflow-skinny` has only the client).
Name its program, from any virtual environment with the whole of MLflow, to run this:

    MLFLOW_SERVER=/path/to/venv/bin/mlflow pytest -m slow -k remote_registry tests/pipeline/release
"""

import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from importlib.util import find_spec
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.release.bundle import copy_bundle, open_bundle, verify_bundle
from pipeline.release.promotion import promote, roll_back
from pipeline.release.register import register
from pipeline.release.registry import open_registry

SERVER = os.environ.get("MLFLOW_SERVER") or (
    shutil.which("mlflow") if find_spec("flask") is not None else None
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(SERVER is None, reason="no MLflow server: set MLFLOW_SERVER to its program"),
]


@pytest.fixture(scope="module")
def uri(tmp_path_factory):
    """Address of an MLflow server that keeps artifacts itself: no folder is shared with it."""
    folder = tmp_path_factory.mktemp("mlflow-server")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [
        *(SERVER, "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"),
        *("--artifacts-destination", str(folder / "artifacts")),
    ]
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            command, stdout=log, stderr=log, env=os.environ | quiet, start_new_session=True
        )
    try:
        wait_until_healthy(f"http://127.0.0.1:{port}", server, folder / "log")
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


def wait_until_healthy(uri: str, server: subprocess.Popen, log: Path) -> None:
    for _ in range(600):
        if server.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{uri}/health", timeout=1) as answer:
                if answer.status == 200:
                    return
        except OSError:
            pass
        time.sleep(0.2)
    raise RuntimeError(f"The MLflow server did not start: {log.read_text()[-2000:]}")


@pytest.fixture
def registry(uri, tmp_path, monkeypatch):
    """A client on a machine of its own: its cache and its runs folder are empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return open_registry(uri, tmp_path / "runs")


def test_versions_go_through_register_promote_roll_back_and_pull(registry, write_run, tmp_path):
    runs = [write_run(tmp_path / f"run-{n}", name="lifecycle", seed=n) for n in (1, 2)]
    numbers = []
    for run in runs:
        numbers.append(register(registry, run).number)
        promote(registry, "lifecycle")

    roll_back(registry, "lifecycle")

    champion = registry.find("lifecycle", "champion")
    copy_bundle(registry.fetch(champion), tmp_path / "pulled", sha256=champion.bundle_sha256)
    assert (champion.number, registry.alias("lifecycle", "previous")) == (numbers[0], None)
    assert "rolled_back_from" in registry.find("lifecycle", str(numbers[1])).tags
    assert verify_bundle(tmp_path / "pulled") == verify_bundle(runs[0] / "student")
    assert champion.tags["verdict"] == "passed"


def test_another_machine_sees_the_champion_and_fetches_it_anew(
    registry, uri, write_run, tmp_path, monkeypatch
):
    run = write_run(tmp_path / "run", name="shared", seed=3)
    register(registry, run)
    promote(registry, "shared")

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other-cache"))
    other = open_registry(uri, tmp_path / "other-runs")
    version = other.find("shared", "champion")

    folder = other.fetch(version)
    assert folder.is_relative_to(tmp_path / "other-cache")
    ours, theirs = (
        open_bundle(each).outputs([("good film",)]) for each in (run / "student", folder)
    )
    assert (ours == theirs).all()


def test_paired_comparison_works_by_http(registry, write_run, tmp_path):
    for number, accuracy in ((1, 0.9), (2, 0.7)):
        run = write_run(tmp_path / f"run-{number}", name="worse", seed=number, accuracy=accuracy)
        register(registry, run)
        if number == 1:
            promote(registry, "worse")

    with pytest.raises(InputError, match=r"-20\.00 points from the champion's"):
        promote(registry, "worse")

    assert registry.alias("worse", "champion") == 1


def test_bundle_that_was_changed_on_the_server_is_not_promoted(registry, write_run, tmp_path):
    run = write_run(tmp_path / "run", name="changed", seed=4)
    version = register(registry, run)
    damaged = tmp_path / "config.json"
    damaged.write_text("{}")
    registry.client.log_artifact(version.mlflow_run, str(damaged), "student")

    with pytest.raises(InputError, match=r"config\.json.*The champion is still no version"):
        promote(registry, "changed")

    assert registry.alias("changed", "champion") is None
