"""The report's plots: what the numbers look like, each under a title that says what was found.

Every function takes a report and returns the bytes of one PNG file.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from pipeline.facts.quality import Interval
from pipeline.facts.training import Point
from pipeline.report.plots.drawing import (
    INK,
    PLAIN,
    STUDENT,
    STUDENT_LIGHT,
    TEACHER,
    draw_curve,
    draw_interval,
    new_figure,
    png_bytes,
    set_rows,
    style,
)
from pipeline.report.report import Report


def plot_training(report: Report) -> bytes:
    """Draw loss and validation metrics by step; the student's step 0 is its start."""
    figure = new_figure(4.7, _training_finding(report))
    panels = figure.subplot_mosaic("AAABBB\nCCDDEE")
    frozen = (("head only", report.head_only, PLAIN), ("teacher", report.teacher, TEACHER))
    for label, part, colour in frozen:
        draw_curve(panels["A"], _losses(part.curve), colour, label)
        draw_curve(panels["B"], _validations(part.curve, "accuracy", 100), colour)
    panels["A"].legend(frameon=False, fontsize=8)
    student = report.student
    draw_curve(panels["C"], _losses(student.curve), STUDENT)
    for panel, name, scale in (("D", "kl", 1), ("E", "agreement", 100)):
        start = Point(step=0, validation=student.start_validation)
        draw_curve(panels[panel], _validations((start, *student.curve), name, scale), STUDENT)
    titles = {
        "A": "Training loss (cross-entropy, nats)",
        "B": "Validation accuracy (%)",
        "C": "Student: training loss",
        "D": "Student: validation KL (nats)",
        "E": "Student: agreement (%)",
    }
    for name, title in titles.items():
        style(panels[name], title=title, xlabel="step")
    return png_bytes(figure)


def plot_quality(report: Report) -> bytes:
    """Draw accuracy, its change from teacher to student, and agreement, with intervals."""
    figure = new_figure(2.3, _quality_finding(report))
    accuracy, change, agreement = figure.subplots(1, 3, width_ratios=(2, 1, 1))
    arms = ((report.head_only, PLAIN), (report.teacher, TEACHER), (report.student, STUDENT))
    for row, (part, colour) in enumerate(arms):
        interval = _scaled(part.intervals["accuracy"])
        draw_interval(accuracy, row, 100 * part.metrics["accuracy"], interval, colour)
    fidelity = report.fidelity
    interval = _scaled(fidelity.change_intervals["accuracy"])
    draw_interval(change, 1, 100 * fidelity.change["accuracy"], interval, STUDENT)
    change.axvline(0, color=INK, linewidth=0.8)
    interval = _scaled(fidelity.intervals["agreement"])
    draw_interval(agreement, 1, 100 * fidelity.agreement, interval, STUDENT)
    level = f"{report.confidence:.0%} interval"
    style(accuracy, title="Accuracy (%)", xlabel=level, grid="x")
    style(change, title="Student - teacher (points)", xlabel=level, grid="x")
    style(agreement, title="Agreement (%)", xlabel=level, grid="x")
    set_rows(accuracy, ["head only", "teacher", "student"])
    set_rows(change, [""] * 3)
    set_rows(agreement, [""] * 3)
    return png_bytes(figure)


def plot_sizes(report: Report) -> bytes:
    """Draw the size of the ONNX files and the number of parameters."""
    parts = (report.head_only, report.teacher, report.student)
    student, teacher = report.student.onnx_bytes, report.teacher.onnx_bytes
    figure = new_figure(
        2.0,
        f"The student's ONNX file is {student / 1e6:.1f} MB: "
        f"{_compared(student, teacher)} the teacher's",
    )
    files, parameters = figure.subplots(1, 2, sharey=True)
    _draw_bars(files, [part.onnx_bytes / 1e6 for part in parts], "MB")
    _draw_bars(parameters, [part.total_parameters / 1e6 for part in parts], "M")
    style(files, title="ONNX file (MB; % against plain)", grid="x")
    style(parameters, title="Parameters (millions; % against plain)", grid="x")
    set_rows(files, ["plain", "teacher", "student"])
    return png_bytes(figure)


def plot_absorption(report: Report) -> bytes:
    """Draw R² of each layer's absorbed sites.

    Raises:
        ValueError: when the student has no absorbed sites.
    """
    absorbed = report.student.absorbed
    if absorbed is None or not absorbed.sites:
        raise ValueError(f"The student of {report.run_id} has no absorbed sites to plot.")
    sites = absorbed.sites
    mean = np.mean([site.r2 for site in sites])
    figure = new_figure(
        2.6, f"The student's own weights absorb {mean:.0%} of what the adapters do (mean R²)"
    )
    panel = figure.subplots()
    for name, offset, colour in (("attention", -0.19, STUDENT_LIGHT), ("ffn", 0.19, STUDENT)):
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
    student = report.student
    accuracies = [value for _, value in _validations(report.teacher.curve, "accuracy", 1)]
    best = f"The teacher reaches {max(accuracies):.1%} validation accuracy. " if accuracies else ""
    if student.kept == "start":
        return f"{best}Training did not lower the student's KL: its start was kept"
    before, after = student.start_validation["kl"], student.validation["kl"]
    return f"{best}Training takes the student's KL from {before:.4f} to {after:.4f}"


def _quality_finding(report: Report) -> str:
    points = 100 * report.fidelity.change["accuracy"]
    direction = "below" if points < 0 else "above"
    distance = f"{abs(points):.2f} points {direction}" if abs(points) >= 0.005 else "level with"
    agreement = f"agrees on {report.fidelity.agreement:.2%} of the texts"
    return f"The student is {distance} its teacher's accuracy and {agreement}"


def _draw_bars(panel: Axes, values: Sequence[float], unit: str) -> None:
    """Draw plain, teacher and student; the latter two with their difference to plain."""
    panel.barh(range(3), values, color=(PLAIN, TEACHER, STUDENT), height=0.6)
    for row, value in enumerate(values):
        gap = value / values[0] - 1
        difference = f" ({gap:+.1%})" if abs(gap) >= 0.0005 else ""
        text = f"  {value:.1f} {unit}{difference}"
        panel.text(value, row, text, va="center", fontsize=8, color=INK)
    panel.set_xlim(0, 1.5 * max(values))


def _losses(curve: Sequence[Point]) -> list[tuple[int, float]]:
    return [(point.step, point.train_loss) for point in curve if point.train_loss is not None]


def _validations(curve: Sequence[Point], name: str, scale: float) -> list[tuple[int, float]]:
    return [
        (point.step, scale * point.validation[name])
        for point in curve
        if point.validation and name in point.validation
    ]


def _scaled(interval: Interval) -> Interval:
    """Return an interval of parts of 1 in per cent."""
    return 100 * interval[0], 100 * interval[1]


def _compared(value: float, other: float) -> str:
    """Return how a size compares, so that ``value is ... other`` reads as a sentence."""
    gap = value / other - 1
    if abs(gap) < 0.0005:
        return "as large as"
    return f"{abs(gap):.1%} {'smaller' if gap < 0 else 'larger'} than"
