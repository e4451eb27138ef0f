"""The run's folder as a Prefect task, written once per flow run."""

from pathlib import Path

from prefect import task
from prefect.runtime import flow_run

from pipeline.chain.finished import FinishedStages
from pipeline.config import RunConfig
from pipeline.decisions.check import Decision
from pipeline.report.publish import publish


@task(
    name="publish",
    persist_result=True,
    result_serializer="json",
    cache_key_fn=lambda *_: f"publish-{flow_run.root_flow_run_id}",
)
def publish_stage(config: RunConfig, finished: FinishedStages, decision: Decision) -> str:
    """Write the run's folder, once per flow run, however often the run continues."""
    return str(publish(config, finished, decision))


def publish_once(config: RunConfig, finished: FinishedStages, decision: Decision) -> Path:
    """Return the folder of this flow run, written anew where it is gone."""
    folder = Path(publish_stage(config, finished, decision))
    if not (folder / "report.json").is_file():
        folder = Path(publish_stage.with_options(refresh_cache=True)(config, finished, decision))
    return folder
