"""What AdapterDrop saves and costs: latency and accuracy with adapters dropped from 0 to n layers.

Two teachers are trained by the config: as it says, and with a random number of lower layers dropped
at each training step (Rücklé et al., 2021, https://arxiv.org/abs/2010.11918, section 3.2). Of each,
the adapters of the lowest 0, 1, 2, ... layers are then left out, and the model is measured on the
test split and, as an ONNX file in onnxruntime, against the plain backbone. Trainings are stages of
the store in ``runs_dir``: a second run only measures.

    python -m benchmarks.adapter_drop configs/demo.toml --out docs/images/adapter-drop.png
"""

from functools import partial
from pathlib import Path
from typing import Annotated

import matplotlib.pyplot as plt
import typer
from flows.stages.teacher import data_stage, find_model, finetune_stage, head_only_stage
from transformers import PreTrainedModel

from models.losses import CLASSIFICATION_OBJECTIVE as OBJECTIVE
from pipeline.checkpoints.pretrained import Checkpoint, find_architecture
from pipeline.checkpoints.teachers import (
    adapters_of,
    drop_lower_adapters,
    load_teacher,
    read_teacher,
)
from pipeline.config import AdapterConfig, RunConfig
from pipeline.config.load import load_config
from pipeline.facts.comparison import ComparedModel, ComparisonFacts
from pipeline.facts.training import TeacherFacts
from pipeline.stages.compare_methods import Candidate, compare_methods
from pipeline.store.stage import Stage
from pipeline.store.store import Store
from pipeline.tasks.classification import CLASSIFICATION as TASK

USUAL, ROBUST = "trained with all", "trained with random drop"


def main(
    config: Annotated[Path, typer.Argument(help="TOML file of a run that trains adapters.")],
    out: Annotated[Path, typer.Option(help="Picture; the table goes beside it, as Markdown.")],
    overrides: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE")] = None,
) -> None:
    """Train, drop, measure, draw."""
    settings = load_config(config, overrides or [])
    facts = measure(settings)
    curves = {name: _curve(facts, name) for name in (USUAL, ROBUST)}
    out.parent.mkdir(parents=True, exist_ok=True)
    draw(facts.models[0], curves, out)
    table = tabulate(facts.models[0], curves)
    out.with_suffix(".md").write_text(table, encoding="utf-8")
    typer.echo(table)


def measure(config: RunConfig) -> ComparisonFacts:
    """Return every model's quality and latency; the first is the plain backbone with its head."""
    store = Store(root=config.runs_dir / ".stages")
    backbone = find_model.fn(config.teacher)
    data = data_stage.fn(store, config)
    head = head_only_stage.fn(store, config, data, backbone)
    layers = _layers(backbone, head)
    candidates = [
        Candidate(
            name="plain",
            load=partial(load_teacher, backbone, head.folder, OBJECTIVE),
            trainable_parameters=0,
        )
    ]
    for name, most in ((USUAL, 0), (ROBUST, layers - 1)):
        own = _with_random_drop(config, most)
        teacher = finetune_stage.fn(store, own, data, head, backbone)
        candidates += [
            Candidate(
                name=f"{name}, {count} dropped",
                load=partial(load_dropped, backbone, teacher.folder, count),
                trainable_parameters=teacher.facts.trainable_parameters,
            )
            for count in range(layers)
        ]
    out = config.runs_dir / "adapter-drop"
    out.mkdir(exist_ok=True)
    return compare_methods(
        data,
        backbone,
        candidates,
        out,
        task=TASK,
        evaluate=config.evaluate,
        export=config.export,
        benchmark=config.benchmark,
        max_length=config.data.max_length,
        seed=config.seed,
    )


def load_dropped(backbone: Checkpoint, folder: Path, count: int) -> PreTrainedModel:
    """Return a teacher without the adapters of its first layers."""
    model = load_teacher(backbone, folder)
    adapter = read_teacher(folder).adapter
    if adapter is None:
        raise TypeError(f"{folder} has no adapters")
    drop_lower_adapters(model, adapters_of(adapter), count)
    return model


def tabulate(plain: ComparedModel, curves: dict[str, list[ComparedModel]]) -> str:
    """Return a row a number of dropped layers, as a Markdown table."""
    lines = [
        "| layers without adapters | CPU time of a call | accuracy, "
        + " | accuracy, ".join(curves)
        + " |",
        "|---:|---:|" + "---:|" * len(curves),
    ]
    for count, models in enumerate(zip(*curves.values(), strict=True)):
        latency = models[0].latency
        cost = (
            ""
            if latency is None
            else f"{latency.value - 1:+.1%} ({latency.low - 1:+.1%} to {latency.high - 1:+.1%})"
        )
        found = [f"{each.quality.values[TASK.main_metric]:.4f}" for each in models]
        lines.append(f"| {count} | {cost} | {' | '.join(found)} |")
    accuracy = plain.quality.values[TASK.main_metric]
    lines.append(f"| all (head only) | 0 | {' | '.join([f'{accuracy:.4f}'] * len(curves))} |")
    return "\n".join([*lines, ""])


def draw(plain: ComparedModel, curves: dict[str, list[ComparedModel]], out: Path) -> None:
    """Draw latency and accuracy over the number of dropped layers."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    usual = curves[USUAL]
    timed = [(n, each.latency) for n, each in enumerate(usual) if each.latency is not None]
    values = [latency.value for _, latency in timed]
    errors = (
        [latency.value - latency.low for _, latency in timed],
        [latency.high - latency.value for _, latency in timed],
    )
    left.errorbar([n for n, _ in timed], values, errors, marker="o", capsize=3, color="C0")
    left.axhline(1.0, color="grey", linestyle="--", label="plain backbone")
    left.set(ylabel="CPU time of a call, against the plain backbone")
    metric = TASK.main_metric
    for name, models in curves.items():
        found = [each.quality.values[metric] for each in models]
        low, high = zip(*(each.quality.intervals[metric] for each in models), strict=True)
        right.plot(range(len(found)), found, marker="o", label=name)
        right.fill_between(range(len(found)), low, high, alpha=0.15)
    right.axhline(plain.quality.values[metric], color="grey", linestyle="--", label="head only")
    right.set(ylabel=f"{metric} on the test split")
    for axes in (left, right):
        axes.set(xlabel="lower layers without adapters", xticks=range(len(usual)))
        axes.legend()
        axes.grid(alpha=0.3)
    figure.savefig(out, dpi=120)
    plt.close(figure)


def _curve(facts: ComparisonFacts, name: str) -> list[ComparedModel]:
    return [each for each in facts.models if each.name.startswith(f"{name}, ")]


def _layers(backbone: Checkpoint, head: Stage[TeacherFacts]) -> int:
    model = load_teacher(backbone, head.folder)
    return len(find_architecture(model).layers(model.base_model))


def _with_random_drop(config: RunConfig, most: int) -> RunConfig:
    adapter = config.teacher.adapter
    if not isinstance(adapter, AdapterConfig):
        raise TypeError("teacher.adapter names adapters that there are already")
    changed = adapter.model_copy(update={"random_drop": most})
    teacher = config.teacher.model_copy(update={"adapter": changed})
    return config.model_copy(update={"teacher": teacher})


if __name__ == "__main__":
    typer.run(main)
