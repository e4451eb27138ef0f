"""The report's plots: what the numbers look like, each under a title that says what was found.

Every function takes a report and returns the bytes of one PNG file.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from pipeline.drawing import (
    INK,
    PLAIN,
    STUDENT,
    STUDENT_LIGHT,
    TEACHER,
    TIMES,
    draw_curve,
    draw_interval,
    new_figure,
    png_bytes,
    set_rows,
    style,
)
from pipeline.records import Interval, Latency, Point
from pipeline.report import Report


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


def plot_latency(report: Report) -> bytes:
    """Draw each arm's CPU time as a multiple of the plain backbone's, cell by cell."""
    cells = sorted({(entry.batch, entry.length) for entry in report.latency})
    figure = new_figure(1.3 + 0.95 * len(cells), _latency_finding(report))
    panels = figure.subplots(len(cells), 1, sharex=True, squeeze=False)[:, 0]
    for panel, (batch, length) in zip(panels, cells, strict=True):
        entries = {e.arm: e for e in report.latency if (e.batch, e.length) == (batch, length)}
        style(panel, title=f"batch {batch}, {length} tokens", grid="x")
        _draw_cell(panel, entries)
    panels[-1].set_xlabel(
        f"thread CPU time, multiple of the plain backbone's ({report.confidence:.0%} intervals); "
        "left: median wall time",
        fontsize=8,
        color=INK,
    )
    again = Line2D([], [], color=PLAIN, marker="o", mfc="white", label="the plain file again")
    noise = Patch(color=PLAIN, alpha=0.2, label="its interval: differences in here are noise")
    figure.legend(
        handles=[again, noise], loc="outside lower left", ncols=2, frameon=False, fontsize=8
    )
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
    style(files, title="ONNX file (MB)", grid="x")
    style(parameters, title="Parameters (millions)", grid="x")
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


def _latency_finding(report: Report) -> str:
    batch, length = min((entry.batch, entry.length) for entry in report.latency)
    ratio = {
        e.arm: e.ratio_to_plain for e in report.latency if (e.batch, e.length) == (batch, length)
    }
    finding = (
        f"Student {ratio['student']:.2f}{TIMES}, teacher {ratio['teacher']:.2f}{TIMES} the plain "
        f"backbone's time at batch {batch}, {length} tokens"
    )
    cells = len({(entry.batch, entry.length) for entry in report.latency})
    noisy = len(report.latency_notes)
    return f"{finding}; noise hides the adapters in {noisy} of {cells} cells" if noisy else finding


def _quality_finding(report: Report) -> str:
    points = 100 * report.fidelity.change["accuracy"]
    direction = "below" if points < 0 else "above"
    distance = f"{abs(points):.2f} points {direction}" if abs(points) >= 0.005 else "level with"
    agreement = f"agrees on {report.fidelity.agreement:.2%} of the texts"
    return f"The student is {distance} its teacher's accuracy and {agreement}"


def _draw_cell(panel: Axes, entries: Mapping[str, Latency]) -> None:
    """Draw one cell: three rows, the noise as a band behind them, ratios at the right."""
    again = entries["plain again"]
    panel.axvspan(again.ci_low, again.ci_high, color=PLAIN, alpha=0.2, linewidth=0)
    panel.axvline(1, color=PLAIN, linewidth=1)
    arms = {"plain": PLAIN, "teacher": TEACHER, "student": STUDENT}
    beside = panel.get_yaxis_transform()  # x in parts of the panel's width, y in rows
    for row, (arm, colour) in enumerate(arms.items()):
        shown = again if arm == "plain" else entries[arm]
        ratio, interval = shown.ratio_to_plain, (shown.ci_low, shown.ci_high)
        draw_interval(panel, row, ratio, interval, colour, hollow=arm == "plain")
        text = f"{ratio:.3f}{TIMES}"
        panel.text(1.01, row, text, transform=beside, va="center", fontsize=8, color=colour)
    set_rows(panel, [f"{arm}  {entries[arm].median_ms:.2f} ms" for arm in arms])


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
