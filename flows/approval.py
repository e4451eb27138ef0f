"""Release of a student that passed: never, at once, or after a question to the user.

To ask, the run is suspended: its process exits, and a worker starts it again after the answer. It
returns to the same question, with every stage finished and the answer at hand. A form without a
choice is no answer, and the run asks again.
"""

from typing import Any, Literal

from prefect.artifacts import create_markdown_artifact
from prefect.context import FlowRunContext
from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput
from prefect.logging import get_run_logger
from prefect.utilities.urls import url_for
from pydantic import Field, ValidationError, model_validator

from pipeline.errors import InputError

Release = Literal["never", "if_gate_passes", "ask_me"]
ReleaseAnswer = Literal["release", "do not release"]
_DAYS_TO_ANSWER = 7
_KEY = "release-question"
"""Key of the artifact that shows question, numbers and answer."""
_HOW = (
    "open {page}, press *Resume* (in the menu at the top right), take one of the two choices and "
    f"send the form. Without an answer the run fails after {_DAYS_TO_ANSWER} days."
)


class Approval(RunInput):
    """The answer to a run that asks."""

    decision: ReleaseAnswer = Field(
        title="Release this student, or not?",
        description="release: it becomes the champion. do not release: the run ends without one.",
    )
    reason: str = Field(
        default="",
        max_length=500,
        title="Reason",
        description="Reason of the decision, kept in the run's log.",
    )

    # Any: whatever a form sent.
    @model_validator(mode="before")
    @classmethod
    def _read_earlier_form(cls, answer: Any) -> Any:
        """Read an earlier version's form: its switch was off when nobody had touched it."""
        if isinstance(answer, dict) and answer.get("release") is True:
            return {"decision": "release", "reason": answer.get("reason", "")}
        return answer


def check_can_ask(release: Release) -> None:
    """Refuse to start what could not ask at its end.

    Raises:
        InputError: for ``ask_me`` in a run that has no deployment, which nothing would go on.
    """
    context = FlowRunContext.get()
    run = context.flow_run if context else None
    if release == "ask_me" and (run is None or run.deployment_id is None):
        raise InputError(
            "release=ask_me suspends the run, and only the run of a deployment can be suspended. "
            "Start it from a deployment, or set release=if_gate_passes."
        )


def ask(release: Release, *, title: str, report: str) -> bool:
    """Return whether a student that passed is released; with ``ask_me`` the run is suspended.

    Args:
        release: The mode.
        title: The question.
        report: What the answer is to be based on, as Markdown; the run's page shows it.
    """
    if release != "ask_me":
        return release == "if_gate_passes"
    answer = _answer(title, report)
    said = f"{answer.decision}. {answer.reason}".strip()
    get_run_logger().info("answer: %s", said)
    _show(f"## {title}\n\nAnswered: {said}\n\n{report}", f"answered: {answer.decision}")
    return answer.decision == "release"


def _answer(title: str, report: str) -> Approval:
    """Return the first answer that is one; ask again after each that is none.

    Prefect knows a question by its key, so that each time needs another one.
    """
    how = _HOW.format(page=_page())
    attempt = 0
    while True:
        attempt += 1
        _show(f"## {title}\n\n**This run waits for your answer:** {how}\n\n{report}", "waits")
        get_run_logger().warning("%s This run waits for your answer: %s", title, how)
        try:
            # The numbers are on the page: in the form they would push the choice out of sight.
            return suspend_flow_run(
                wait_for_input=Approval.with_initial_data(
                    description=f"**{title}** The numbers are in the artifact *{_KEY}* of this run."
                ),
                timeout=_DAYS_TO_ANSWER * 24 * 3600,
                key="release" if attempt == 1 else f"release-{attempt}",
            )
        except ValidationError:
            get_run_logger().warning("The form was sent without a choice, which is no answer.")


def _show(markdown: str, description: str) -> None:
    create_markdown_artifact(key=_KEY, markdown=markdown, description=description)


def _page() -> str:
    """Return the address of this run's page, or words for it where no UI is known."""
    context = FlowRunContext.get()
    run = context.flow_run if context else None
    return (url_for("flow-run", obj_id=run.id) if run else None) or "this run's page"
