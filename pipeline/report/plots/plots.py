"""The report's plots: what the numbers look like, each under a title that says what was found.

Every function takes a report and returns the bytes of one PNG file.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from pipeline.facts.arms import EXPORTED, PLAIN, STUDENT, TEACHER
from pipeline.facts.quality import Measured
from pipeline.facts.training import Point
from pipeline.report.headline import spaced
from pipeline.report.plots.drawing import (
    COLOURS,
    INK,
    VARIANT_COLOUR,
    draw_curve,
    draw_interval,
    new_figure,
    png_bytes,
    set_rows,
    style,
)
from pipeline.report.report import Report
from pipeline.tasks.all_tasks import find_task


def plot_training(report: Report) -> bytes:
    """Draw loss and validation metrics by step; the student's step 0 is its start."""
    task = find_task(report.task)
    figure = new_figure(4.7, _training_finding(report))
    panels = figure.subplot_mosaic("AABBCC\nDDEEFF")
    trained = (("head only", report.head_only, PLAIN), (TEACHER, report.teacher, TEACHER))
    # A panel for each loss and each number of steps: the larger would flatten the others.
    for panel, (label, facts, arm) in zip("AB", trained, strict=True):
        curve = facts.outcome.curve
        draw_curve(panels[panel], _losses(curve), COLOURS[arm])
        validations = _validations(curve, task.main_metric, 100)
        draw_curve(panels["D"], _as_parts(validations, facts.outcome.steps), COLOURS[arm], label)
    panels["D"].legend(frameon=False, fontsize=8)
    student = report.student
    draw_curve(panels["C"], _losses(student.outcome.curve), COLOURS[STUDENT])
    curve = (Point(step=0, validation=student.start_validation), *student.outcome.curve)
    for panel, name, scale in (("E", task.distance, 1), ("F", task.agreement, 100)):
        draw_curve(panels[panel], _validations(curve, name, scale), COLOURS[STUDENT])
    titles = {
        "A": f"Head only: {task.words.loss}",
        "B": f"Teacher: {task.words.loss}",
        "C": "Student: training loss",
        "D": f"Validation {spaced(task.main_metric)} (%)",
        "E": task.words.distance,
        "F": f"{spaced(task.agreement).capitalize()} (%)",
    }
    for name, title in titles.items():
        xlabel = "part of the training (%)" if name == "D" else "step"
        style(panels[name], title=title, xlabel=xlabel)
    return png_bytes(figure)


def plot_quality(report: Report) -> bytes:
    """Draw the main metric, its change from teacher to student, and agreement, with intervals."""
    task, evaluation = find_task(report.task), report.evaluation
    metric = task.main_metric
    figure = new_figure(2.3, _quality_finding(report))
    quality, change, agreement = figure.subplots(1, 3, width_ratios=(2, 1, 1))
    for row, arm in enumerate(EXPORTED):
        _draw_measured(quality, row, report.quality[arm], metric, COLOURS[arm])
    _draw_measured(change, 1, evaluation.change, metric, COLOURS[STUDENT])
    change.axvline(0, color=INK, linewidth=0.8)
    _draw_measured(agreement, 1, evaluation.fidelity, task.agreement, COLOURS[STUDENT])
    level = f"{evaluation.confidence:.0%} interval"
    style(quality, title=f"{spaced(metric).capitalize()} (%)", xlabel=level, grid="x")
    style(change, title="Student - teacher (points)", xlabel=level, grid="x")
    style(agreement, title=f"{spaced(task.agreement).capitalize()} (%)", xlabel=level, grid="x")
    for panel in (change, agreement):
        panel.locator_params(axis="x", nbins=3)  # numbers of five digits would touch
    set_rows(quality, ["head only", TEACHER, STUDENT])
    set_rows(change, [""] * 3)
    set_rows(agreement, [""] * 3)
    return png_bytes(figure)


def plot_sizes(report: Report) -> bytes:
    """Draw the size of the ONNX files and the number of parameters."""
    sizes, parameters = report.onnx_bytes, report.parameters
    figure = new_figure(
        2.0,
        f"The student's ONNX file is {sizes[STUDENT] / 1e6:.1f} MB: "
        f"{_compared(sizes[STUDENT], sizes[TEACHER])} the teacher's",
    )
    left, right = figure.subplots(1, 2, sharey=True)
    _draw_bars(left, [sizes[arm] / 1e6 for arm in EXPORTED], "MB")
    _draw_bars(right, [parameters[arm] / 1e6 for arm in EXPORTED], "M")
    style(left, title="ONNX file (MB; % against plain)", grid="x")
    style(right, title="Parameters (millions; % against plain)", grid="x")
    set_rows(left, EXPORTED)
    return png_bytes(figure)


def plot_absorption(report: Report) -> bytes:
    """Draw R² of each layer's absorbed sites.

    Raises:
        ValueError: when the student has no absorbed sites.
    """
    absorbed = report.absorbed
    if absorbed is None or not absorbed.sites:
        raise ValueError(f"The student of {report.run_id} has no absorbed sites to plot.")
    sites = absorbed.sites
    mean = np.mean([site.r2 for site in sites])
    figure = new_figure(
        2.6, f"The student's own weights absorb {mean:.0%} of the adapters' effect (mean R²)"
    )
    panel = figure.subplots()
    bars_of = (("attention", -0.19, VARIANT_COLOUR), ("ffn", 0.19, COLOURS[STUDENT]))
    for name, offset, colour in bars_of:
        places = [site.layer + offset for site in sites if site.site == name]
        values = [site.r2 for site in sites if site.site == name]
        if values:
            bars = panel.bar(places, values, 0.36, color=colour, label=name)
            panel.bar_label(bars, fmt="%.2f", fontsize=7, color=INK, padding=1)
    style(panel, title="R² on held-out tokens, before training", xlabel="layer", grid="y")
    panel.set_ylim(0, 1.12)
    panel.set_xticks(sorted({site.layer for site in sites}))
    figure.legend(loc="outside lower left", ncols=2, frameon=False, fontsize=8)
    return png_bytes(figure)


def _training_finding(report: Report) -> str:
    student, task = report.student, find_task(report.task)
    metric, distance = spaced(task.main_metric), task.words.distance
    reached = [value for _, value in _validations(report.teacher.outcome.curve, task.main_metric)]
    best = f"The teacher reaches {max(reached):.1%} validation {metric}. " if reached else ""
    if student.kept == "start":
        return f"{best}Training did not improve the student, so its start was kept"
    before, after = student.start_validation[task.distance], student.validation[task.distance]
    return f"{best}Training takes the student's {distance} from {before:.4f} to {after:.4f}"


def _quality_finding(report: Report) -> str:
    task, evaluation = find_task(report.task), report.evaluation
    points = 100 * evaluation.change.values[task.main_metric]
    direction = "below" if points < 0 else "above"
    distance = f"{abs(points):.2f} points {direction}" if abs(points) >= 0.005 else "level with"
    agrees = task.words.agrees(evaluation.fidelity.values[task.agreement])
    return f"The student is {distance} its teacher's {spaced(task.main_metric)}, and {agrees}"


def _draw_measured(panel: Axes, row: int, measured: Measured, name: str, colour: str) -> None:
    """Draw a value and its interval, parts of 1, in per cent."""
    low, high = measured.intervals[name]
    draw_interval(panel, row, 100 * measured.values[name], (100 * low, 100 * high), colour)


def _draw_bars(panel: Axes, values: Sequence[float], unit: str) -> None:
    """Draw plain, teacher and student; the latter two with their difference to plain."""
    panel.barh(range(3), values, color=[COLOURS[arm] for arm in EXPORTED], height=0.6)
    for row, value in enumerate(values):
        gap = value / values[0] - 1
        difference = f" ({gap:+.1%})" if abs(gap) >= 0.0005 else ""
        text = f"  {value:.1f} {unit}{difference}"
        panel.text(value, row, text, va="center", fontsize=8, color=INK)
    panel.set_xlim(0, 1.5 * max(values))


def _losses(curve: Sequence[Point]) -> list[tuple[int, float]]:
    return [(point.step, point.train_loss) for point in curve if point.train_loss is not None]


def _validations(curve: Sequence[Point], name: str, scale: float = 1) -> list[tuple[int, float]]:
    return [
        (point.step, scale * point.validation[name])
        for point in curve
        if point.validation and name in point.validation
    ]


def _as_parts(points: Sequence[tuple[int, float]], steps: int) -> list[tuple[float, float]]:
    """Return points by the part of a training that they are at, in per cent."""
    return [(100 * step / max(1, steps), value) for step, value in points]


def _compared(value: float, other: float) -> str:
    """Return how a size compares, so that ``value is ... other`` reads as a sentence."""
    gap = value / other - 1
    if abs(gap) < 0.0005:
        return "as large as"
    return f"{abs(gap):.1%} {'smaller' if gap < 0 else 'larger'} than"
