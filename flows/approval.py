"""What happens to a student that passed: nothing, release at once, or a question to the user.

To ask, the run is suspended: its process exits, and a worker starts it again after the answer. It
comes back to the same question with every stage finished and the answer at hand.
"""

from typing import Literal

from prefect.context import FlowRunContext
from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput
from prefect.logging import get_run_logger
from pydantic import Field

from pipeline.errors import InputError

Release = Literal["never", "if_gate_passes", "ask_me"]
_DAYS_TO_ANSWER = 7


class Approval(RunInput):
    """The answer to a run that asks."""

    release: bool = Field(
        title="Release this student",
        description="On: it becomes the champion. Off: the run ends without a release.",
    )
    reason: str = Field(
        default="",
        max_length=500,
        title="Reason",
        description="Why; kept in the run's log.",
    )


def check_can_ask(release: Release) -> None:
    """Refuse to start what could not ask at its end.

    Raises:
        InputError: for ``ask_me`` in a run that has no deployment, which nothing would go on.
    """
    context = FlowRunContext.get()
    run = context.flow_run if context else None
    if release == "ask_me" and (run is None or run.deployment_id is None):
        raise InputError(
            "release=ask_me suspends the run, which only a deployment's run can be. Start it from "
            "a deployment, or take if_gate_passes."
        )


def ask(release: Release, *, title: str, report: str) -> bool:
    """Return whether a student that passed is released; with ``ask_me`` the run is suspended.

    Args:
        release: The mode.
        title: The question.
        report: What the answer is to be based on, as Markdown.
    """
    if release != "ask_me":
        return release == "if_gate_passes"
    answer = suspend_flow_run(
        wait_for_input=Approval.with_initial_data(
            description=f"## {title}\n\n{report}", release=False
        ),
        timeout=_DAYS_TO_ANSWER * 24 * 3600,
        key="release",
    )
    get_run_logger().info("answer: release=%s. %s", answer.release, answer.reason)
    return answer.release
