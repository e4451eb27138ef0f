"""Fixture and settings: the chain of a task on tiny models, stage by stage."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from pipeline.chain.chain import chain
from pipeline.chain.program import perform, progress
from pipeline.config import RunConfig
from pipeline.store.stage import Stage
from pipeline.store.store import Store

QUICK = (
    "data.validation_size=30",
    "data.test_size=30",
    "teacher.adapter.bottleneck_size=8",
    "head_only.epochs=10",
    "head_only.learning_rate=1e-2",
    *(f"{table}.batch_size=8" for table in ("finetune", "absorb", "distill")),
    *(f"{table}.precision=fp32" for table in ("finetune", "distill")),
    "finetune.learning_rate=5e-3",
    "quantize.calibration_texts=16",
    "quantize.blocks=4",
    "quantize.calls=1",
    "quantize.bootstrap_samples=100",
    "quantize.max_metric_drop=1.0",
    "quantize.max_agreement_drop=1.0",
    "evaluate.bootstrap_samples=100",
)
"""Overrides of a shipped config, for tiny models and tables."""


def changed(config: RunConfig, table: str, **settings: object) -> RunConfig:
    """Return a config with other settings in one of its tables."""
    tree = config.model_dump(mode="json", by_alias=True)
    tree[table] = tree[table] | settings
    return RunConfig.model_validate(tree)


@pytest.fixture(scope="session")
def run_until(tiny_store: Store) -> Callable[[str, RunConfig], dict[str, Stage[Any]]]:
    """``run_until(name, config)``: the stages of a chain up to one, by name."""

    def run_until(name: str, config: RunConfig) -> dict[str, Stage[Any]]:
        stages = {}
        for stage in progress(chain(config), partial(perform, tiny_store)):
            stages[stage.name] = stage
            if stage.name == name:
                return stages
        raise AssertionError(f"no stage {name}")

    return run_until
