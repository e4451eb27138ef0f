"""Changes by a start on a server that people have changed, and that knows an older project."""

import contextlib
import copy
import dataclasses
import itertools

import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound

from flows.building import LIMIT
from flows.server.deployments import bring_up_deployments
from flows.server.provision import SILENCES, bootstrap

pytestmark = [pytest.mark.xdist_group("prefect"), pytest.mark.usefixtures("prefect_server")]

NIGHTLY = {"cron": "30 2 * * *", "timezone": "Europe/Berlin", "slug": "nightly", "active": False}
PROJECT = {
    "description": "Makes a student the champion.",
    "tags": ["release"],
    "parameters": {"form": {"name": "demo"}},
    "concurrency_limit": {"limit": 1, "collision_strategy": "CANCEL_NEW"},
    "schedules": [NIGHTLY],
}
HOURLY = {"schedule": {"cron": "0 * * * *", "timezone": "UTC"}, "active": True}


class Server:
    """A deployment on the server, as people see and change it."""

    def __init__(self, client, name):
        self._client, self._name = client, f"promote-student/{name}"

    def read(self):
        """Return what people can change, by the names of the parts."""
        found = self._client.request("GET", f"/deployments/name/{self._name}").json()
        limit = found["global_concurrency_limit"]
        strategy = (found["concurrency_options"] or {}).get("collision_strategy")
        schedules = {f"schedule {each['slug']}": self._shown(each) for each in found["schedules"]}
        return schedules | {
            "description": found["description"],
            "tags": sorted(found["tags"]),
            "paused": found["paused"],
            "parameter form": found["parameters"]["form"],
            "job variables": found["job_variables"],
            "work queue": found["work_queue_name"],
            "concurrency limit": (limit and limit["limit"], strategy),
        }

    @staticmethod
    def _shown(schedule):
        return (schedule["schedule"]["cron"], schedule["active"], schedule["parameters"])

    @property
    def _path(self):
        return f"/deployments/{self._client.read_deployment_by_name(self._name).id}"

    def change(self, **fields):
        self._client.request("PATCH", self._path, json=fields)

    def add_schedule(self, **fields):
        self._client.request("POST", f"{self._path}/schedules", json=[HOURLY | fields])

    def change_schedule(self, **fields):
        self._client.request("PATCH", f"{self._path}/schedules/{self._nightly()}", json=fields)

    def delete_schedule(self):
        self._client.request("DELETE", f"{self._path}/schedules/{self._nightly()}")

    def _nightly(self):
        found = self._client.read_deployment_by_name(self._name).schedules
        return next(each.id for each in found if each.slug == "nightly")


CRON = {"cron": "0 5 * * *", "timezone": "UTC"}
BY_PEOPLE = {
    "description": lambda server: server.change(description="Ours."),
    "tags": lambda server: server.change(tags=["release", "night"]),
    "paused": lambda server: server.change(paused=True),
    "job variables": lambda server: server.change(job_variables={"env": {"A": "1"}}),
    "work queue": lambda server: server.change(
        work_pool_name="adapter-distill", work_queue_name="gpu"
    ),
    "concurrency limit": lambda server: server.change(concurrency_limit=3),
    "parameter form": lambda server: server.change(parameters={"form": {"name": "mine"}}),
    "schedule nightly": lambda server: server.change_schedule(active=True),
    "schedule nightly, at another time": lambda server: server.change_schedule(schedule=CRON),
    "schedule nightly, deleted": lambda server: server.delete_schedule(),
    "schedule hourly": lambda server: server.add_schedule(slug="hourly"),
    "schedule without a slug": lambda server: server.add_schedule(),
}
"""Changes that people make in the UI; the first words name the part."""
BY_PROJECT = {
    "description": ({"description": "New."}, "New."),
    "tags": ({"tags": ["release", "new"]}, ["new", "release"]),
    "concurrency limit": (
        {"concurrency_limit": {"limit": 2, "collision_strategy": "ENQUEUE"}},
        (2, "ENQUEUE"),
    ),
    "parameter form": ({"parameters": {"form": {"name": "new"}}}, {"name": "new"}),
    "schedule nightly": (
        {"schedules": [NIGHTLY | {"cron": "0 3 * * *"}]},
        ("0 3 * * *", False, {}),
    ),
    "schedule nightly, removed": ({"schedules": []}, None),
    "schedule hourly": (
        {"schedules": [NIGHTLY, NIGHTLY | {"slug": "hourly"}]},
        ("30 2 * * *", False, {}),
    ),
}
"""Changes of prefect.yaml, and what they come to; the first words name the part."""
QUICK = {("schedule nightly", None), ("schedule nightly", "schedule nightly")}
CELLS = [
    pytest.param(people, project, marks=[] if (people, project) in QUICK else pytest.mark.slow)
    for people, project in itertools.product((*BY_PEOPLE, None), (*BY_PROJECT, None))
]


@pytest.fixture(scope="module")
def client(prefect_server):
    assert prefect_server
    with get_client(sync_client=True) as client:
        yield client


@pytest.fixture(scope="module")
def provisioned(client):
    """Lines of the first start; tests before these may have brought everything up."""
    remove_all(client)
    said = []
    bootstrap(said.append)
    yield said
    remove_all(client)


def remove_all(client):
    """Remove all that a start brings up, and what it remembers of it."""
    for variable in client.read_variables():
        client.delete_variable_by_name(variable.name)
    for deployment in client.read_deployments():
        client.delete_deployment(deployment.id)
    for silence in SILENCES:
        for automation in client.read_automations_by_name(silence.name):
            client.delete_automation(automation.id)
    with contextlib.suppress(ObjectNotFound):
        client.delete_global_concurrency_limit_by_name(LIMIT)


@pytest.fixture
def start(client, provisioned, tmp_path):
    """``start(**project)``: what a start says with another prefect.yaml of one deployment."""
    assert provisioned

    def start(name, **project):
        entry = {"name": name, "entrypoint": "flows.release.promote_student"} | PROJECT | project
        path = tmp_path / "prefect.yaml"
        path.write_text(yaml.safe_dump({"pull": [], "deployments": [copy.deepcopy(entry)]}))
        said = []
        bring_up_deployments(client, said.append, path)
        return said

    return start


def part_of(change):
    """Return the words of a change that name its part."""
    return change and change.split(",")[0]


@pytest.mark.parametrize(("people", "project"), CELLS)
def test_people_keep_what_they_changed_and_get_what_the_project_changed(
    client, start, people, project
):
    name = f"{people}-{project}".replace(" ", "-").replace(",", "")
    server = Server(client, name)
    start(name)
    if people:
        BY_PEOPLE[people](server)
    expected = server.read()
    change, value = BY_PROJECT[project] if project else ({}, None)
    if part_of(project) != part_of(people):
        expected[part_of(project)] = value

    said = start(name, **change)

    after = server.read()
    assert after == {part: value for part, value in expected.items() if value is not None}
    agree = (people, project) == ("schedule nightly, deleted", "schedule nightly, removed")
    left = [line for line in said if "left as it was changed here" in line]
    assert len(left) == (1 if people and not agree else 0)
    if left and "without a slug" not in people:
        assert f": {part_of(people)}: left" in left[0]
    # The next start changes nothing, and says the same of what it leaves.
    assert start(name, **change) == left
    assert server.read() == after


def test_first_start_creates_everything_and_the_second_nothing(provisioned):
    again = []
    bootstrap(again.append)

    assert all(line.endswith(": created") for line in provisioned)
    assert len(provisioned) == len(set(provisioned)) > len(SILENCES) + 1
    assert again == []


def test_limit_and_automation_that_people_changed_are_left(client, provisioned):
    assert provisioned
    automation = client.read_automations_by_name(SILENCES[0].name)[0]
    client.pause_automation(automation.id)
    client.upsert_global_concurrency_limit_by_name(LIMIT, 5)
    said = []
    bootstrap(said.append)

    assert not client.read_automations_by_name(SILENCES[0].name)[0].enabled
    assert client.read_global_concurrency_limit_by_name(LIMIT).limit == 5
    assert said == [
        f"{LIMIT}: slots: left as it was changed here",
        f"{SILENCES[0].name}: switched on: left as it was changed here",
    ]


def test_automation_that_the_project_changed_follows_it(client, provisioned, monkeypatch):
    assert provisioned
    changed = (*SILENCES[:1], dataclasses.replace(SILENCES[1], seconds=400))
    monkeypatch.setattr("flows.server.provision.SILENCES", changed)
    said = []
    bootstrap(said.append)

    assert f"{SILENCES[1].name}: brought up to date: rule" in said
    trigger = client.read_automations_by_name(SILENCES[1].name)[0].trigger
    assert trigger.within.total_seconds() == 400


def test_deployment_whose_parameters_fit_no_more_is_left_and_named(client, start, monkeypatch):
    start("old-form")
    server = Server(client, "old-form")
    server.change(parameters={"form": {"name": "mine"}})
    before = server.read()
    form = {"type": "object", "properties": {"form": {"type": "integer"}}}
    monkeypatch.setattr("flows.server.deployments._form", lambda _: form)

    said = start("old-form")

    assert server.read() == before
    assert any("do not fit the new one" in line for line in said)
