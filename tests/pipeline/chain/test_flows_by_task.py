"""Every flow around the chain, with every task, on tiny models."""

import pytest
from support.task_chains import TASK_RUNS
from support.task_flows import FLOWS

from pipeline.tasks.all_tasks import TASKS

pytestmark = pytest.mark.slow  # a minute per cell

ANYTHING = (
    "finetune.epochs=2",
    *(
        f"benchmark.{setting}"
        for setting in (
            "own_lengths=2",
            "lengths=[8]",
            "past_lengths=[8]",
            "min_blocks=3",
            "max_blocks=3",
            "rounds=2",
            "warmup_runs=1",
            "ladder_blocks=3",
            "seconds_per_file=0.01",
            "throughput_batch=2",
        )
    ),
    *(f"gate.max_{limit}=1.0" for limit in ("metric_drop", "class_drop", "calibration_growth")),
    *(f"gate.max_{limit}=100.0" for limit in ("size_ratio", "latency_ratio", "rmse_growth")),
    "gate.max_perplexity_growth=100.0",
    "gate.min_agreement=0",
    "gate.min_gain=-1",
    'gate.overhead="any"',
    "release.register_run=false",
)
"""Overrides by which any student passes its gate, soon."""


@pytest.fixture(scope="session")
def runs_of(tmp_path_factory):
    """``runs_of(task)``: a folder that all flows of a task share, with its finished stages."""
    root = tmp_path_factory.mktemp("runs")
    return lambda task: root / task


def test_every_task_has_a_tiny_run():
    assert TASK_RUNS.keys() == TASKS.keys()


@pytest.mark.parametrize("task", TASK_RUNS)
@pytest.mark.parametrize("flow", FLOWS)
def test_flow_works_with_task(flow, task, task_config, runs_of):
    FLOWS[flow](task_config(task, *ANYTHING, f"runs_dir={runs_of(task)}"))
