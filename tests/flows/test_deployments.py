"""The deployments: forms, refusals, presets, schedules, limits, approval."""

import json
import tomllib
from pathlib import Path

import pytest
import yaml
from prefect.utilities.callables import parameter_schema
from support.smoke_runs import SMOKE

from flows.server.local_deployments import FLOWS, local_deployments
from pipeline.config import RunConfig
from pipeline.config.load import load_config
from pipeline.release.champion import find_champion
from pipeline.release.forms import RollbackForm

ENTRIES = yaml.safe_load(Path("prefect.yaml").read_text(encoding="utf-8"))["deployments"]


@pytest.mark.parametrize("flow", FLOWS.values(), ids=FLOWS)
def test_every_field_of_a_form_has_a_title_and_a_description(flow):
    schema = parameter_schema(flow).model_dump_for_openapi()
    fields = {"": schema["properties"]}
    fields |= {name: part["properties"] for name, part in schema["definitions"].items()}

    # The form shows a group's own description where its field has none.
    bare = [
        f"{group}.{name}"
        for group, properties in fields.items()
        for name, field in properties.items()
        if not field.get("title") or not (field.get("description") or "$ref" in field)
    ]

    assert bare == []


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["name"])
def test_preset_is_a_valid_config(entry):
    parameters = entry["parameters"]

    if "config" in parameters:
        RunConfig.model_validate(parameters["config"])
    elif "start-here" in entry["tags"]:
        assert parameters == {}  # what the form asks for, nobody else can know
    else:
        assert RollbackForm.model_validate(parameters["form"]).name == "demo"


@pytest.mark.parametrize(
    ("name", "config"),
    [("on-demand", "demo"), ("smaller-students", "sweep"), ("adapters-against-lora", "compare")],
)
def test_preset_is_filled_in_with_its_config(name, config):
    shipped = tomllib.loads(Path(f"configs/{config}.toml").read_text(encoding="utf-8"))
    preset = next(entry for entry in ENTRIES if entry["name"] == name)

    assert preset["parameters"]["config"] == shipped


def test_developers_server_offers_the_same_deployments():
    served = {(each.flow_name, each.name): each for each in local_deployments()}

    assert {name for _, name in served} == {entry["name"] for entry in ENTRIES}
    nightly = served["retrain", "scheduled"].schedules[0]
    assert (nightly.active, nightly.schedule.timezone) == (False, "Europe/Berlin")


@pytest.mark.xdist_group("operations")
class TestOnAServer:
    """With an installation."""

    @pytest.mark.parametrize(
        ("override", "message"),
        [
            ({"finetune": {"epochs": -1}}, "config.finetune.epochs"),
            ({"teacher": {"model": "x", "adapter": {"kind": "lora"}}}, "'lora' is not one of"),
            ({"wings": 2}, "'wings' was unexpected"),
        ],
    )
    def test_wrong_values_are_refused_by_the_api(
        self, installation, smoke_config, override, message
    ):
        answer = installation.submit(
            "adapter-to-student/on-demand", config=smoke_config() | override
        )

        assert answer.status_code == 409
        assert message in answer.text

    @pytest.mark.slow
    def test_schedule_is_off_and_makes_runs_once_it_is_on(self, installation):
        found = installation.request("GET", "/deployments/name/retrain/scheduled").json()
        schedule = found["schedules"][0]
        path = f"/deployments/{found['id']}/schedules/{schedule['id']}"
        scheduled = {
            "deployments": {"id": {"any_": [found["id"]]}},
            "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}},
        }

        def runs():
            return installation.request("POST", "/flow_runs/filter", json=scheduled).json()

        assert not schedule["active"]
        assert runs() == []
        installation.request("PATCH", path, json={"active": True})
        installation.wait_for(runs, seconds=90)
        installation.request("PATCH", path, json={"active": False})

    @pytest.mark.slow
    def test_second_scheduled_run_is_cancelled_while_one_works(self, installation, smoke_config):
        config = smoke_config()
        first, second = (installation.start("retrain/scheduled", config=config) for _ in range(2))

        assert {installation.wait(second)["type"], "COMPLETED"} == {"CANCELLED", "COMPLETED"}
        installation.request(
            "POST",
            f"/flow_runs/{first}/set_state",
            json={"state": {"type": "CANCELLING", "name": "Cancelling"}},
        )
        installation.wait(first)

    def test_run_asks_and_goes_on_after_the_answer(
        self, installation, smoke_overrides, seeded_runs
    ):
        # All stages but one are finished; the worker builds that one.
        overrides = [
            *smoke_overrides,
            f"runs_dir={seeded_runs()}",
            "evaluate.bootstrap_samples=101",
        ]
        config = load_config(SMOKE, overrides).model_dump(mode="json")
        run = installation.start("adapter-to-student/on-demand", config=config, release="ask_me")
        state = installation.wait(run)
        installation.wait_for(lambda: installation.run_process() is None, seconds=60)
        runs = Path(config["runs_dir"])
        before = list(runs.glob("*-smoke"))

        def answer(**form):
            path = f"/flow_runs/{run}/resume"
            return installation.request("POST", path, json={"run_input": form}).json()["status"]

        wrong = [answer(), answer(reason="good"), answer(decision="perhaps")]
        question = installation.artifacts(run)["release-question"]["data"]
        answer(decision="release", reason="good")

        assert state["name"] == "Suspended"
        assert wrong == ["REJECT"] * 3
        assert f"/runs/flow-run/{run}, press *Resume*" in question
        assert installation.wait(run, until=("COMPLETED",))["type"] == "COMPLETED"
        champion = find_champion(installation.registry, config["name"], runs)
        finished = [folder.resolve() for folder in runs.glob("*-smoke")]
        assert [champion] == finished, installation.logs(run)
        assert list(runs.glob("*-smoke")) == before
        shown = installation.artifacts(run)
        assert {"distill-summary", "gate-report", "plot-training", "report-page"} <= set(shown)
        assert "at most" in shown["gate-report"]["data"]

    @pytest.mark.slow
    def test_comparison_ends_with_its_table_and_plot(self, installation, smoke_config):
        config = smoke_config(
            "finetune.epochs=2",
            'compare.methods=["houlsby", "lora"]',
            "compare.bottleneck_sizes=[]",
        )
        run = installation.start("compare-methods/adapters-against-lora", config=config)

        assert installation.wait(run, seconds=400)["type"] == "COMPLETED", installation.logs(run)
        shown = installation.artifacts(run)
        rows = json.loads(shown["adapters-against-lora"]["data"])
        names = ["head only", "houlsby", "houlsby absorbed", "houlsby distilled"]
        assert [row["model"] for row in rows] == [*names, "lora", "lora merged"]
        assert "data:image/png" in shown["adapters-against-lora-plot"]["data"]
