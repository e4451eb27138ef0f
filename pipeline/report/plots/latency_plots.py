"""The report's plots of time: what the adapters cost, and the ladder from PyTorch to the student.

Every function takes a report and returns the bytes of one PNG file.
"""

from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from pipeline.facts.arms import EXPORTED, PLAIN, STUDENT, TEACHER, Arm, a_a_arm
from pipeline.facts.benchmark import Latency
from pipeline.facts.latency import Rung
from pipeline.report.headline import OUTCOMES, TIMES, clearest
from pipeline.report.plots.drawing import (
    COLOURS,
    INK,
    colour_of,
    draw_interval,
    new_figure,
    png_bytes,
    set_rows,
    style,
)
from pipeline.report.report import Report


def plot_latency(report: Report) -> bytes:
    """Draw each arm's CPU time as a multiple of the plain backbone's, cell by cell."""
    cells = report.cells()
    figure = new_figure(1.3 + 0.95 * len(cells), _latency_finding(report))
    panels = figure.subplots(len(cells), 1, sharex=True, squeeze=False)[:, 0]
    benchmark = report.benchmark
    margins = [cell.margin for cell in benchmark.verdict.cells] if benchmark.verdict else []
    for number, (panel, entries) in enumerate(zip(panels, cells, strict=True)):
        style(panel, title=entries[PLAIN].cell, grid="x")
        if margins:
            for end in (1 - margins[number], 1 + margins[number]):
                panel.axvline(end, color=COLOURS[STUDENT], linewidth=1, linestyle=":")
        _draw_cell(panel, entries)
    panels[-1].set_xlabel(
        "thread CPU time, multiple of the plain backbone's "
        f"({benchmark.confidence:.0%} intervals); left: median wall time",
        fontsize=8,
        color=INK,
    )
    handles = [
        Line2D([], [], color=COLOURS[PLAIN], marker="o", mfc="white", label="the plain file again"),
        Patch(color=COLOURS[PLAIN], alpha=0.2, label="its interval: differences in here are noise"),
        Line2D([], [], color=COLOURS[STUDENT], linestyle=":", label="margin for the student"),
    ]
    figure.legend(
        handles=handles[: 3 if margins else 2],
        loc="outside lower left",
        ncols=3,
        frameon=False,
        fontsize=8,
    )
    return png_bytes(figure)


def plot_ladder(report: Report) -> bytes:
    """Draw the wall time of a text on every rung, and how many times faster it became.

    Raises:
        ValueError: when the ladder was left out.
    """
    if not report.benchmark.ladder:
        raise ValueError(f"The ladder of {report.run_id} was not measured.")
    rungs = report.benchmark.ladder
    figure = new_figure(1.6 + 0.4 * len(rungs), _ladder_finding(rungs, report.shipped_arm))
    panel = figure.subplots()
    style(panel, title="Wall time of one text on one thread, as a user sees it", grid="x")
    # A busy machine's intervals may leave the picture; its bars must not vanish beside them.
    end = min(max(r.mean_ms.high for r in rungs), 2 * max(r.mean_ms.value for r in rungs))
    for row, rung in enumerate(rungs):
        mean = rung.mean_ms
        panel.barh(row, mean.value, color=colour_of(rung.arm), height=0.58, alpha=0.85)
        high = min(mean.high, end)
        panel.plot((mean.low, high), (row, row), color=INK, linewidth=1.4)
        text = f"  {mean.value:.1f} ms"
        faster = clearest(rung.faster_than_torch, rung.cpu_faster_than_torch)
        if faster is not None and rung.runtime == "onnxruntime":
            text += f"   {faster.ratio.value:.2f}{TIMES} faster in {faster.clock}"
            text += f" ({faster.ratio.low:.2f} to {faster.ratio.high:.2f})"
        panel.text(high, row, text, va="center", fontsize=8, color=INK)
    panel.set_xlim(0, 1.7 * end)
    panel.set_xlabel(
        "ms of wall time, mean over texts of the data's own lengths; "
        f"lines: {report.benchmark.confidence:.0%} intervals",
        fontsize=8,
        color=INK,
    )
    set_rows(panel, [rung.arm for rung in rungs])
    return png_bytes(figure)


def _ladder_finding(rungs: tuple[Rung, ...], shipped: Arm) -> str:
    student = next(rung for rung in rungs if rung.arm == shipped)
    faster = [
        f"{speed.ratio.value:.2f}{TIMES} faster than {name} in {speed.clock}"
        for speed, name in (
            (
                clearest(student.faster_than_torch, student.cpu_faster_than_torch),
                "the adapter teacher in PyTorch",
            ),
            (
                clearest(student.faster_than_teacher, student.cpu_faster_than_teacher),
                "the teacher in onnxruntime",
            ),
        )
        if speed is not None
    ]
    return f"The student is {' and '.join(faster)}"


def _latency_finding(report: Report) -> str:
    cell = report.cells()[0]
    teacher, student = (cell[arm].ratio_to_plain for arm in (TEACHER, STUDENT))
    finding = (
        f"teacher {teacher:.3f}{TIMES}, student {student:.3f}{TIMES} the plain backbone's CPU time "
        f"at {cell[PLAIN].cell}"
    )
    if report.benchmark.verdict is None:
        return finding
    outcome = OUTCOMES[report.benchmark.verdict.outcome]
    return f"{outcome[0].upper()}{outcome[1:]}: {finding}"


def _draw_cell(panel: Axes, entries: Mapping[Arm, Latency]) -> None:
    """Draw one cell: three rows, the noise as a band behind them, ratios at the right."""
    a_a = entries[a_a_arm(PLAIN)]
    panel.axvspan(a_a.ci_low, a_a.ci_high, color=COLOURS[PLAIN], alpha=0.2, linewidth=0)
    panel.axvline(1, color=COLOURS[PLAIN], linewidth=1)
    beside = panel.get_yaxis_transform()  # x in parts of the panel's width, y in rows
    for row, arm in enumerate(EXPORTED):
        colour = COLOURS[arm]
        shown = a_a if arm == PLAIN else entries[arm]
        ratio, interval = shown.ratio_to_plain, (shown.ci_low, shown.ci_high)
        draw_interval(panel, row, ratio, interval, colour, hollow=arm == PLAIN)
        text = f"{ratio:.3f}{TIMES}"
        panel.text(1.01, row, text, transform=beside, va="center", fontsize=8, color=colour)
    set_rows(panel, [f"{arm}  {entries[arm].median_ms:.2f} ms" for arm in EXPORTED])
