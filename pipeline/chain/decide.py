"""The gate's decision on a finished run."""

from pipeline.chain.finished import FinishedStages
from pipeline.config import GateConfig
from pipeline.decisions.check import Decision
from pipeline.decisions.gate import decide


def decide_run(finished: FinishedStages, config: GateConfig) -> Decision:
    """Hold a run's measurements against the gate's limits."""
    evaluation, task = finished.evaluation.facts, finished.task
    return decide(
        task.checks(evaluation, config),
        finished.benchmark.facts,
        config,
        warnings=task.warnings(evaluation, config),
        shipped_arm=finished.shipped_arm,
    )
