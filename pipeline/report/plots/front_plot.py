"""The plot of a sweep: how good and how fast every student is, and which no other one beats."""

from collections.abc import Mapping, Sequence
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from pipeline.facts.arms import PLAIN, STUDENT, TEACHER, Arm
from pipeline.facts.latency import Rung
from pipeline.facts.sweep import Sweep
from pipeline.report.headline import TIMES, clearest, spaced
from pipeline.report.plots.drawing import COLOURS, INK, VARIANT_COLOUR, new_figure, png_bytes, style

_PRECISIONS = {"fp32": COLOURS[STUDENT], "int8": VARIANT_COLOUR}
_ENDS = (0.75, 1.35)
"""Room beside the outermost points, as parts of their time."""


def plot_front(sweep: Sweep) -> bytes:
    """Return a PNG: quality against the time of a text, by which to choose and as it came out."""
    figure = new_figure(4.4, _finding(sweep))
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    rungs = {rung.arm: rung for rung in sweep.times.rungs}
    _draw(left, sweep, rungs, "validation")
    _draw(right, sweep, rungs, "test")
    places = [
        (rungs[name].mean_ms.value, _quality(sweep, name, "validation")) for name in sweep.front
    ]
    left.plot(*zip(*places, strict=True), color=INK, linewidth=1, zorder=1)
    if sweep.min_quality is not None:
        left.axhline(100 * sweep.min_quality, color=INK, linewidth=1, linestyle=":")
    if sweep.max_latency_ms is not None:
        left.axvline(sweep.max_latency_ms, color=INK, linewidth=1, linestyle=":")
    texts = sweep.quality.texts
    chosen_by = f"{texts['validation']:,} validation texts: chosen by these"
    reported = f"{texts['test']:,} test texts, {sweep.quality.confidence:.0%} intervals"
    for panel, title in ((left, chosen_by), (right, reported)):
        style(panel, title=title, xlabel="ms of wall time a text, one thread (logarithmic)")
    _set_axes(left, right, [rung.mean_ms.value for rung in sweep.times.rungs])
    left.set_ylabel(f"{spaced(sweep.metric)} (%)", fontsize=8, color=INK)
    figure.legend(
        handles=_legend(sweep), loc="outside lower left", ncols=4, frameon=False, fontsize=8
    )
    return png_bytes(figure)


def _draw(
    panel: Axes,
    sweep: Sweep,
    rungs: Mapping[Arm, Rung],
    split: Literal["validation", "test"],
) -> None:
    for arm, rung in rungs.items():
        if arm not in sweep.quality.files:  # the teacher in PyTorch is as good as its ONNX file
            place = (rung.mean_ms.value, _quality(sweep, TEACHER, split))
            panel.plot(*place, "D", color=COLOURS[TEACHER], mfc="white", markersize=6)
            continue
        if arm == PLAIN:  # without its teacher's knowledge it would be far below all others
            panel.axvline(rung.mean_ms.value, color=COLOURS[PLAIN], linewidth=1.5, alpha=0.6)
            continue
        place = (rung.mean_ms.value, _quality(sweep, arm, split))
        file = next((file for file in sweep.files if file.name == arm), None)
        colour = _PRECISIONS[file.precision] if file else COLOURS[TEACHER]
        if split == "test":
            low, high = sweep.quality.files[arm].test.intervals[sweep.metric]
            panel.plot([place[0]] * 2, (100 * low, 100 * high), color=colour, alpha=0.45)
        panel.plot(*place, "o" if file else "D", color=colour, markersize=7 if file else 6)
        if arm == sweep.pick.name:
            panel.plot(*place, "o", mec=INK, mfc="none", mew=1.5, markersize=12)
        if file:
            panel.annotate(
                str(len(file.layers)),
                place,
                xytext=(5, 5),
                textcoords="offset points",
                fontsize=7.5,
                color=INK,
            )


def _quality(sweep: Sweep, arm: Arm, split: Literal["validation", "test"]) -> float:
    """Return the main metric in per cent."""
    measured = getattr(sweep.quality.files[arm], split)
    return 100 * float(measured.values[sweep.metric])


def _set_axes(left: Axes, right: Axes, times_ms: Sequence[float]) -> None:
    left.set_xscale("log")
    left.set_xlim(_ENDS[0] * min(times_ms), _ENDS[1] * max(times_ms))
    ticks = [
        tick
        for tick in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500)
        if _ENDS[0] * min(times_ms) < tick < _ENDS[1] * max(times_ms)
    ]
    for panel in (left, right):
        panel.set_xticks(ticks, minor=False)
        panel.set_xticks([], minor=True)
        panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _legend(sweep: Sweep) -> list[Line2D]:
    def mark(marker: str, colour: str, label: str, *, hollow: bool = False) -> Line2D:
        face = "none" if hollow else colour
        return Line2D([], [], linestyle="", marker=marker, color=colour, mfc=face, label=label)

    precisions = dict.fromkeys(file.precision for file in sweep.files)
    marks = [
        mark("D", COLOURS[TEACHER], "teacher in PyTorch", hollow=True),
        mark("D", COLOURS[TEACHER], "teacher"),
        Line2D(
            [],
            [],
            color=COLOURS[PLAIN],
            linewidth=1.5,
            alpha=0.6,
            label="time of the plain backbone",
        ),
        *(mark("o", _PRECISIONS[each], f"student, {each} (layers)") for each in precisions),
        Line2D([], [], color=INK, linewidth=1, label="front"),
    ]
    if sweep.pick.name is not None:
        marks.append(mark("o", INK, "picked", hollow=True))
    if sweep.min_quality is not None or sweep.max_latency_ms is not None:
        marks.append(
            Line2D([], [], color=INK, linewidth=1, linestyle=":", label="the gate's limit")
        )
    return marks


def _finding(sweep: Sweep) -> str:
    """Return what the plot shows, of the picked student or of the fastest one on the front."""
    name = sweep.pick.name or sweep.front[0]
    rung = next(rung for rung in sweep.times.rungs if rung.arm == name)
    faster = clearest(rung.faster_than_torch, rung.cpu_faster_than_torch)
    points = 100 * sweep.quality.files[name].change.values[sweep.metric]
    lost = f"{points:+.1f} points of {spaced(sweep.metric)}"
    which = "picked" if sweep.pick.name else "fastest on the front"
    speed = ""
    if faster:
        speed = f"{faster.ratio.value:.1f}{TIMES} faster than the teacher in PyTorch "
        speed += f"in {faster.clock}, "
    return f"{name} ({which}): {speed}{lost} on the test split"
