"""A newcomer's way in a real browser: the form of first-run, to a finished run's artifacts.

Needs Chromium and its driver: scripts/faults installs them where it can.
"""

import pytest
from support.browser import Browser, missing_programs

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("operations")]

FIRST_RUN = "adapter-to-student/first-run"


@pytest.fixture(scope="module")
def browser(installation):
    """Chromium on the installation's UI."""
    if missing_programs():
        pytest.skip("Chromium is missing: apt-get install chromium chromium-driver")
    with Browser(installation) as browser:
        yield browser


def test_form_refuses_what_is_out_of_bounds(installation, browser):
    browser.open_form(FIRST_RUN)
    browser.fill_in("32", "2")  # max_length
    browser.submit()

    assert browser.complaint("2") == "Value must be greater than or equal to 4."
    found = installation.request("GET", f"/deployments/name/{FIRST_RUN}").json()
    wanted = {"deployments": {"id": {"any_": [found["id"]]}}}
    assert installation.request("POST", "/flow_runs/filter", json=wanted).json() == []


def test_form_leads_to_a_finished_run_and_its_artifacts(installation, browser):
    browser.open_form(FIRST_RUN)
    browser.fill_in("first-run", "by-hand")
    browser.submit()
    run = browser.wait_for_run("by-hand")

    parameters = installation.request("GET", f"/flow_runs/{run}").json()["parameters"]
    assert parameters["config"]["name"] == "by-hand"
    assert installation.wait(run, seconds=500)["type"] == "COMPLETED", installation.logs(run)
    shown = installation.artifacts(run)
    for key, said in (
        ("distill-summary", "checks of the gate"),
        ("gate-report", "at most"),
        ("onnx-latency", "plain again"),
    ):
        browser.show(f"artifacts/artifact/{shown[key]['id']}", said)
    browser.show(f"artifacts/artifact/{shown['plot-training']['id']}", "Artifact")
    assert browser.pictures() > 0
    browser.show(f"runs/flow-run/{run}", "Completed")
