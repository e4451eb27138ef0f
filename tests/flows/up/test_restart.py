"""`adapter-distill up` is stopped or killed in the middle of a run, and started again."""

import signal
import subprocess
import sys

import pytest
from support.installations import starting

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("restart")]

SCHEDULED = "retrain/scheduled"


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    return tmp_path_factory.mktemp("state")


def schedules(found, deployment):
    """Return the schedules of a deployment by their slugs: when, and whether they are on."""
    listed = found.request("GET", f"/deployments/name/{deployment}").json()["schedules"]
    return {each["slug"]: (each["schedule"]["cron"], each["active"]) for each in listed}


def change_as_people_do(found):
    """Switch the schedule on, add another, and change parameters."""
    deployment = found.request("GET", f"/deployments/name/{SCHEDULED}").json()
    path = f"/deployments/{deployment['id']}"
    (nightly,) = deployment["schedules"]
    found.request("PATCH", f"{path}/schedules/{nightly['id']}", json={"active": True})
    hourly = {"schedule": {"cron": "7 * * * *", "timezone": "UTC"}, "active": False}
    found.request("POST", f"{path}/schedules", json=[hourly | {"slug": "hourly"}])
    changed = deployment["parameters"] | {"release": "never"}
    found.request("PATCH", path, json={"parameters": changed})


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_what_people_set_stays_and_the_run_that_worked_ends(state, smoke_config, wait_for, how):
    with starting(state) as found:
        change_as_people_do(found)
        config = smoke_config()
        run = found.start("run-stage/one-stage", config=config, stage="distill")
        trainer = wait_for(found.trainer)
        before = schedules(found, SCHEDULED)
        found.up.send_signal(how)
        wait_for(lambda: found.is_gone(found.up) and found.is_gone(trainer), seconds=90)

    with starting(state) as again:
        # Its server was back before its deployments were registered, and its worker after that.
        assert again.state_of(run)["type"] in ("CRASHED", "CANCELLED", "FAILED")
        assert "nightly" in before
        assert schedules(again, SCHEDULED) == before
        parameters = again.request("GET", f"/deployments/name/{SCHEDULED}").json()["parameters"]
        assert parameters["release"] == "never"
        said = (state / "up.log").read_text()
        assert f"{SCHEDULED}: schedule nightly: left as it was changed here" in said

        alone = subprocess.run(
            [sys.executable, "-m", "flows.server.provision"],
            env=again.environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert f"{SCHEDULED}: parameter release: left as it was changed here" in alone
        assert schedules(again, SCHEDULED) == before
        again.retry(run)
        assert again.wait(run, until=("COMPLETED",))["type"] == "COMPLETED"
        deployment = again.request("GET", f"/deployments/name/{SCHEDULED}").json()
        again.request("DELETE", f"/deployments/{deployment['id']}")
