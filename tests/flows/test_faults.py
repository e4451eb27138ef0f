"""Each fault on real processes: the run ends in a true state, and goes on where it stopped."""

import json
import subprocess
from pathlib import Path

import pytest

pytestmark = [pytest.mark.xdist_group("operations"), pytest.mark.slow]

STAGE = "run-stage/one-stage"


@pytest.fixture
def training(installation, smoke_config):
    """``training()``: a run in the middle of fine-tuning; its id, trainer and ``runs_dir``."""

    def training():
        config = smoke_config()
        runs = Path(config["runs_dir"])
        run = installation.start(STAGE, config=config, stage="distill")
        installation.wait_for(lambda: list(runs.glob(".stages/finetune-*/scratch/*/*-is-whole")))
        return run, installation.trainer(), runs

    return training


@pytest.fixture(scope="module")
def undisturbed(installation, smoke_config):
    """The digests of a run that nothing happened to."""
    config = smoke_config()
    run = installation.start(STAGE, config=config, stage="distill")
    assert installation.wait(run)["type"] == "COMPLETED"
    return digests(Path(config["runs_dir"]))


@pytest.fixture(scope="module", autouse=True)
def never_begun(installation):
    """A run that a worker took and never began. Its end takes minutes: it is made first of all."""
    flow = installation.request("GET", f"/deployments/name/{STAGE}").json()["flow_id"]
    state = {"type": "PENDING", "name": "Pending"}
    wanted = {"flow_id": flow, "name": "never-begun", "state": state}
    return installation.request("POST", "/flow_runs/", json=wanted).json()["id"]


def digests(runs):
    """Return the digest of every finished stage, by the folder's name."""
    records = runs.glob(".stages/*/record.json")
    return {path.parent.name: json.loads(path.read_text())["digest"] for path in records}


def test_killed_trainer_is_replaced_and_goes_on_from_its_checkpoint(
    installation, training, undisturbed
):
    run, trainer, runs = training()
    installation.kill(trainer)

    assert installation.wait(run)["type"] == "COMPLETED"
    assert "SIGKILL" in installation.logs(run)
    assert "continuing from checkpoint-" in installation.logs(run)
    assert digests(runs) == undisturbed


def test_killed_run_is_crashed_leaves_no_process_and_its_retry_goes_on(
    installation, training, undisturbed
):
    run, trainer, runs = training()
    installation.kill(installation.run_process())

    assert installation.wait(run, until=("CRASHED",))["type"] == "CRASHED"
    installation.wait_for(lambda: installation.is_gone(trainer), seconds=30)
    assert not list(runs.glob(".stages/finetune-*/record.json"))
    # The worker notices a quarter of a minute later, and ends what was retried before.
    installation.wait_for(lambda: "memory allocation" in installation.logs(run), seconds=60)

    installation.retry(run)

    assert installation.wait(run, until=("COMPLETED",))["type"] == "COMPLETED"
    assert "continuing from checkpoint-" in installation.logs(run)
    assert digests(runs) == undisturbed


@pytest.fixture
def small_disk(tmp_path):
    """A file system that a checkpoint does not fit on; mounting one takes root."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=160k", "tmpfs", tmp_path]
    if subprocess.run(mount, check=False).returncode != 0:
        pytest.skip("a small file system cannot be mounted here: that takes root")
    yield tmp_path
    subprocess.run(["umount", "--lazy", tmp_path], check=True)


def test_full_disk_fails_the_run_and_its_retry_goes_on_where_there_is_room(
    installation, smoke_config, small_disk, undisturbed
):
    config = smoke_config(f"runs_dir={small_disk}")
    run = installation.start(STAGE, config=config, stage="distill")

    assert installation.wait(run)["type"] == "FAILED"
    assert "No space left on device" in installation.state_of(run)["message"]
    finished = digests(small_disk)
    assert finished.items() <= undisturbed.items()

    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
    installation.retry(run)

    assert installation.wait(run, until=("COMPLETED",))["type"] == "COMPLETED"
    assert digests(small_disk) == undisturbed


def test_cancelled_run_leaves_no_process(installation, training):
    run, trainer, _ = training()
    cancelling = {"state": {"type": "CANCELLING", "name": "Cancelling"}}
    installation.request("POST", f"/flow_runs/{run}/set_state", json=cancelling)

    assert installation.wait(run)["type"] == "CANCELLED"
    installation.wait_for(lambda: installation.is_gone(trainer), seconds=30)


def test_killed_server_comes_back_to_a_run_that_went_on(installation, training, undisturbed):
    run, _, runs = training()
    server = installation.service("server")
    installation.kill(server)
    installation.wait_for_return("server", server)

    assert installation.wait(run)["type"] == "COMPLETED"
    assert digests(runs) == undisturbed


@pytest.mark.parametrize("how", ["terminate", "kill"])
def test_run_of_a_dead_worker_is_crashed_and_its_retry_goes_on(
    installation, training, undisturbed, how
):
    run, trainer, runs = training()
    process = installation.run_process()
    worker = installation.service("worker")
    getattr(worker, how)()
    installation.wait_for_return("worker", worker)
    if not installation.is_gone(process):  # a killed worker's run goes on without it
        installation.kill(process)

    assert installation.wait(run, until=("CRASHED",))["type"] == "CRASHED"
    installation.wait_for(lambda: installation.is_gone(trainer), seconds=30)
    installation.retry(run)

    assert installation.wait(run, until=("COMPLETED",))["type"] == "COMPLETED"
    assert digests(runs) == undisturbed


@pytest.mark.slow
def test_run_that_never_began_is_crashed(installation, never_begun):
    assert installation.wait(never_begun, until=("CRASHED",), seconds=420)["type"] == "CRASHED"
    assert "did not begin" in installation.state_of(never_begun)["message"]


@pytest.mark.slow
def test_no_completed_run_was_changed_afterwards(installation, undisturbed):
    found = installation.request("POST", "/flow_runs/filter", json={}).json()
    histories = [
        [
            state["type"]
            for state in installation.request(
                "GET", "/flow_run_states/", params={"flow_run_id": run["id"]}
            ).json()
        ]
        for run in found
    ]

    assert undisturbed
    assert {history[-1] for history in histories if "COMPLETED" in history} == {"COMPLETED"}
