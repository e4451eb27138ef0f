"""Latency and quality of AdapterDrop, with adapters dropped from 0 to n layers.

Two teachers are trained by the config. The second drops a random number of lower layers at each
training step (Rücklé et al., 2021, https://arxiv.org/abs/2010.11918, section 3.2). Each is measured
without the adapters of the lowest 0, 1, 2, ... layers. Quality is on the test split, and latency is
that of an ONNX file in onnxruntime against the plain backbone. Trainings are stages of the store in
``runs_dir``: a second run only measures.

    python -m benchmarks.adapter_drop configs/demo.toml --out docs/images/adapter-drop.png
"""

from functools import partial
from pathlib import Path
from typing import Annotated

import matplotlib.pyplot as plt
import typer
from transformers import PreTrainedModel

from pipeline.chain.chain import teacher_stages
from pipeline.chain.program import drive, perform
from pipeline.chain.stage_names import STAGES
from pipeline.checkpoints.pretrained import Checkpoint, count_layers
from pipeline.checkpoints.teachers import (
    adapters_of,
    drop_lower_adapters,
    load_teacher,
    read_teacher,
)
from pipeline.config import AdapterConfig, RunConfig
from pipeline.config.load import load_config
from pipeline.facts.arms import PLAIN, Arm
from pipeline.facts.comparison import ComparedModel, ComparisonFacts
from pipeline.stages.compare_methods import Candidate, CompareSettings, compare_methods
from pipeline.store.store import Store
from pipeline.tasks.all_tasks import find_task
from pipeline.timing.machine import describe_machine

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
    metric = find_task(settings.task).main_metric
    draw(facts.models[0], curves, metric, out)
    table = tabulate(facts.models[0], curves, metric)
    out.with_suffix(".md").write_text(table, encoding="utf-8")
    typer.echo(table)


def measure(config: RunConfig) -> ComparisonFacts:
    """Return every model's quality and latency; the first is the plain backbone with its head."""
    do = partial(perform, Store(root=config.runs_dir / STAGES))
    usual = drive(teacher_stages(_with_random_drop(config, 0)), do)
    context = usual.context
    layers = count_layers(context.backbone)
    robust = drive(teacher_stages(_with_random_drop(config, layers - 1)), do)
    candidates = [
        Candidate(
            name=PLAIN,
            load=partial(load_teacher, context.backbone, usual.head_only.folder),
            trainable_parameters=0,
        )
    ]
    for name, teacher in ((USUAL, usual.teacher), (ROBUST, robust.teacher)):
        candidates += [
            Candidate(
                name=Arm(f"{name}, {count} dropped"),
                load=partial(load_dropped, context.backbone, teacher.folder, count),
                trainable_parameters=teacher.facts.trainable_parameters,
            )
            for count in range(layers)
        ]
    settings = CompareSettings(
        context=context,
        candidates=tuple(candidates),
        evaluate=config.evaluate,
        export=config.export,
        benchmark=config.benchmark,
        machine=describe_machine(),
    )
    out = config.runs_dir / "adapter-drop"
    out.mkdir(exist_ok=True)
    return compare_methods(
        usual.data, (usual.head_only, usual.teacher, robust.teacher), settings, out
    )


def load_dropped(backbone: Checkpoint, folder: Path, count: int) -> PreTrainedModel:
    """Return a teacher without the adapters of its first layers."""
    model = load_teacher(backbone, folder)
    adapter = read_teacher(folder).adapter
    if adapter is None:
        raise TypeError(f"{folder} has no adapters")
    drop_lower_adapters(model, adapters_of(adapter), count)
    return model


def tabulate(plain: ComparedModel, curves: dict[str, list[ComparedModel]], metric: str) -> str:
    """Return a row a number of dropped layers, as a Markdown table."""
    lines = [
        f"| layers without adapters | CPU time of a call | {metric}, "
        + f" | {metric}, ".join(curves)
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
        found = [f"{each.quality.values[metric]:.4f}" for each in models]
        lines.append(f"| {count} | {cost} | {' | '.join(found)} |")
    least = f"{plain.quality.values[metric]:.4f}"
    lines.append(f"| all (head only) | 0 | {' | '.join([least] * len(curves))} |")
    return "\n".join([*lines, ""])


def draw(
    plain: ComparedModel, curves: dict[str, list[ComparedModel]], metric: str, out: Path
) -> None:
    """Draw latency and quality over the number of dropped layers."""
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


def _with_random_drop(config: RunConfig, most: int) -> RunConfig:
    adapter = config.teacher.adapter
    if not isinstance(adapter, AdapterConfig):
        raise TypeError("teacher.adapter names adapters that there are already")
    changed = adapter.model_copy(update={"random_drop": most})
    teacher = config.teacher.model_copy(update={"adapter": changed})
    return config.model_copy(update={"teacher": teacher})


if __name__ == "__main__":
    typer.run(main)
