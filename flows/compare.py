"""Ways to adapt one backbone, compared on the same data and budget, as one Prefect flow."""

from pathlib import Path

from prefect import flow

from flows.building import building
from flows.page.run import explain_failure, show_rows
from flows.pools import refuse_pools
from flows.tasks import as_tasks
from pipeline.chain.comparison import comparison, own_adapter
from pipeline.chain.program import drive
from pipeline.config import RunConfig
from pipeline.report.methods_page import comparison_rows, publish_comparison
from pipeline.tasks.all_tasks import find_task


@flow(
    name="compare-methods",
    flow_run_name="compare-{config.name}",
    validate_parameters=True,
    persist_result=False,
    on_failure=[explain_failure],
    on_crashed=[explain_failure],
)
def compare(config: RunConfig) -> Path:
    """Train adapters, LoRA and the whole model; measure them, and the students of the adapters.

    Args:
        config: What to run; `compare` says which methods.
    """
    own_adapter(config)  # refused before a child process is started
    refuse_pools(config, "a comparison")
    with building(config) as store:
        finished = drive(comparison(config), as_tasks(store, config.cluster))
    task = find_task(config.task)
    folder = publish_comparison(config, finished, task)
    show_rows(
        "adapters-against-lora",
        comparison_rows(finished.facts, task),
        folder / "comparison.png",
        description="Ways to adapt one backbone, and their students",
    )
    return folder
