"""A comparison for people: one table, one plot, one folder under ``runs``."""

import json
from dataclasses import asdict
from pathlib import Path

from pipeline.config import RunConfig
from pipeline.facts.arms import PLAIN, STUDENT, TEACHER
from pipeline.facts.comparison import ComparedModel, ComparisonFacts
from pipeline.facts.quality import Measured
from pipeline.report.headline import spaced
from pipeline.report.plots.drawing import (
    COLOURS,
    draw_interval,
    new_figure,
    png_bytes,
    set_rows,
    style,
)
from pipeline.store.files import write_atomic
from pipeline.store.stage import Stage
from pipeline.tasks.task import Task

COMPARISON_SUFFIX = "-comparison"


def publish_comparison(config: RunConfig, finished: Stage[ComparisonFacts], task: Task) -> Path:
    """Write JSON, Markdown, plot and table of a comparison to a folder of its own; return it."""
    folder = config.runs_dir / f"{config.name}{COMPARISON_SUFFIX}"
    folder.mkdir(parents=True, exist_ok=True)
    facts = finished.facts
    write_atomic(folder / "comparison.png", plot_comparison(facts, task.main_metric))
    write_atomic(folder / "comparison.md", _markdown(config, facts, task))
    write_atomic(folder / "table.json", json.dumps(comparison_rows(facts, task), indent=2))
    write_atomic(folder / "comparison.json", json.dumps(asdict(facts), indent=2))
    return folder


def comparison_rows(facts: ComparisonFacts, task: Task) -> list[dict[str, str]]:
    """Return the comparison as a table: one row a model, by column."""
    metric = task.main_metric
    return [
        {
            "model": model.name,
            "trained parameters": f"{model.trainable_parameters:,}",
            spaced(metric): _with_interval(model.quality, metric),
            task.words.agreement: _with_interval(model.fidelity, task.agreement),
            "CPU time of a call, times the plain backbone": _latency(model),
        }
        for model in facts.models
    ]


def plot_comparison(facts: ComparisonFacts, metric: str) -> bytes:
    """Return a PNG: the metric and the cost of a call, model by model."""
    rows = len(facts.models)
    figure = new_figure(1.1 + 0.27 * rows, "Methods to adapt one backbone: quality and cost")
    left, right = figure.subplots(1, 2, sharey=True)
    for row, model in enumerate(facts.models):
        arm = STUDENT if model.is_plain_graph and model.teacher else TEACHER
        colour = COLOURS[PLAIN if row == 0 else arm]
        low, high = model.quality.intervals[metric]
        draw_interval(
            left, row, 100 * model.quality.values[metric], (100 * low, 100 * high), colour
        )
        if model.latency is not None:
            interval = (model.latency.low, model.latency.high)
            draw_interval(right, row, model.latency.value, interval, colour)
        else:
            draw_interval(right, row, 1.0, (1.0, 1.0), colour, hollow=True)
    style(left, title=spaced(metric), xlabel="per cent", grid="x")
    style(
        right,
        title="CPU time of a call, times the plain backbone",
        xlabel="hollow: the plain backbone's own graph",
        grid="x",
    )
    set_rows(left, [model.name for model in facts.models])
    return png_bytes(figure)


def _with_interval(measured: Measured | None, name: str) -> str:
    if measured is None:
        return ""
    low, high = measured.intervals[name]
    return f"{measured.values[name]:.4f} [{low:.3f}, {high:.3f}]"


def _latency(model: ComparedModel) -> str:
    if model.latency is not None:
        return f"{model.latency.value:.3f} [{model.latency.low:.3f}, {model.latency.high:.3f}]"
    return "1: the same graph"


def _markdown(config: RunConfig, facts: ComparisonFacts, task: Task) -> str:
    rows = comparison_rows(facts, task)
    columns = list(rows[0])
    lines = [
        f"# {config.name}: methods to adapt one backbone",
        "",
        f"{config.teacher.model}, the same data and budget for all; intervals of "
        f"{facts.confidence:.0%} over test texts and over blocks of fresh sessions. "
        f"{facts.machine['cpu']}.",
        "",
        "| " + " | ".join(columns) + " |",
        "|" + "---|" * len(columns),
        *("| " + " | ".join(row.values()) + " |" for row in rows),
        "",
        "![Quality and cost](comparison.png)",
        "",
    ]
    return "\n".join(lines)
