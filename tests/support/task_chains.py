"""Fixtures and settings: the chain of each task on tiny models, stage by stage."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pipeline.chain.chain import chain
from pipeline.chain.program import perform, progress
from pipeline.config import RunConfig
from pipeline.config.load import load_config
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


@dataclass(frozen=True, kw_only=True)
class TaskRun:
    """How the chain of a task runs on a tiny model."""

    config: str
    """Name of a shipped config."""
    model: str
    """Name of the fixture with a checkpoint."""
    texts: str
    """Name of the fixture with texts and labels."""
    overrides: tuple[str, ...]


TASK_RUNS = {
    "classification": TaskRun(
        config="smoke", model="tiny_checkpoint", texts="tiny_csv", overrides=()
    ),
    "multi-label": TaskRun(
        config="multi-label",
        model="tiny_checkpoint",
        texts="tiny_sets_jsonl",
        overrides=(
            'data.labels=["praise", "blame", "people"]',
            "data.max_length=16",
            "finetune.epochs=12",
            "finetune.patience=12",
        ),
    ),
    "regression": TaskRun(
        config="regression",
        model="tiny_checkpoint",
        texts="tiny_scores_csv",
        overrides=(
            'data.text=["first", "second"]',
            "data.max_length=16",
            "finetune.epochs=8",
        ),
    ),
    "token-classification": TaskRun(
        config="token-classification",
        model="tiny_checkpoint",
        texts="tiny_tags_conll",
        overrides=('data.labels=["praise", "people"]', "data.max_length=24", "finetune.epochs=8"),
    ),
    "question-answering": TaskRun(
        config="question-answering",
        model="tiny_checkpoint",
        texts="tiny_squad_json",
        overrides=("data.max_length=24", "finetune.epochs=10"),
    ),
    "causal-lm": TaskRun(
        config="causal-lm",
        model="tiny_language_model",
        texts="tiny_texts_jsonl",
        overrides=("data.max_length=40", "finetune.epochs=3", "finetune.learning_rate=1e-2"),
    ),
}
"""By task."""


@pytest.fixture(scope="session")
def task_config(request: pytest.FixtureRequest) -> Callable[..., RunConfig]:
    """``task_config(task, *overrides)``: the config of a task's chain on a tiny model."""

    def task_config(task: str, *overrides: str) -> RunConfig:
        run = TASK_RUNS[task]
        model, texts = (request.getfixturevalue(name) for name in (run.model, run.texts))
        places = (f"teacher.model={model}", f"data.train={texts}")
        return load_config(
            Path(f"configs/{run.config}.toml"), [*places, *QUICK, *run.overrides, *overrides]
        )

    return task_config


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
