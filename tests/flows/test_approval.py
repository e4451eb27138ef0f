"""The question to the user, on a real server: asked, answered, not answered, asked again."""

import contextlib
import json

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.exceptions import Pause
from prefect.flow_engine import run_flow
from prefect.states import Scheduled

from flows.approval import Approval, ask

pytestmark = [pytest.mark.xdist_group("prefect"), pytest.mark.usefixtures("prefect_server")]

EARLIER_FORM = {
    "type": "object",
    "properties": {"release": {"type": "boolean", "default": False}},
}
"""Schema of the form before it had a choice."""


@flow(name="asks", persist_result=True, result_serializer="json")
def asks() -> str:
    return "released" if ask("ask_me", title="Release it?", report="| numbers |") else "kept"


class AskingRun:
    """A run of a deployment that is played by this process, as a worker would."""

    def __init__(self, client):
        self.client = client
        deployment = asks.to_deployment(name="asks").apply()
        self.id = client.create_flow_run_from_deployment(deployment, state=Scheduled()).id

    def play(self):
        """Run the flow from its beginning; return its result, or the name of its state."""
        with contextlib.suppress(Pause):
            return run_flow(asks, flow_run=self.client.read_flow_run(self.id))
        return self.client.read_flow_run(self.id).state.name

    def resume(self, **form):
        return self.client.resume_flow_run(self.id, run_input=form).status.value

    def ask_as_before(self):
        """Put the earlier version's form in the place of this one."""
        key = self.client.read_flow_run(self.id).state.state_details.run_input_keyset["schema"]
        self.client.delete_flow_run_input(self.id, key)
        self.client.create_flow_run_input(self.id, key, json.dumps(EARLIER_FORM))

    def page(self):
        of_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[self.id]))
        return [each.data for each in self.client.read_artifacts(artifact_filter=of_run)]


@pytest.fixture
def run():
    with get_client(sync_client=True) as client:
        yield AskingRun(client)


def test_form_is_one_required_choice_with_its_description():
    schema = Approval.model_json_schema()

    assert schema["required"] == ["decision"]
    assert schema["properties"]["decision"]["enum"] == ["release", "do not release"]
    assert "it becomes the champion" in schema["properties"]["decision"]["description"]


@pytest.mark.parametrize(
    ("decision", "result"), [("release", "released"), ("do not release", "kept")]
)
def test_run_goes_on_with_the_choice(run, decision, result):
    assert run.play() == "Suspended"
    assert run.resume() == "REJECT"
    assert run.resume(decision=decision) == "ACCEPT"

    assert run.play() == result
    pages = run.page()
    assert any("This run waits for your answer" in page and "*Resume*" in page for page in pages)
    assert any(f"Answered: {decision}" in page and "| numbers |" in page for page in pages)


def test_run_that_an_earlier_version_suspended_asks_again_where_its_switch_was_left_alone(run):
    run.play()
    run.ask_as_before()
    run.resume(release=False)

    assert run.play() == "Suspended"
    assert run.resume(decision="release") == "ACCEPT"
    assert run.play() == "released"


def test_run_that_an_earlier_version_suspended_takes_its_answer(run):
    run.play()
    run.ask_as_before()
    run.resume(release=True)

    assert run.play() == "released"
    assert any("Answered: release" in page for page in run.page())
