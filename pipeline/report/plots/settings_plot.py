"""The plot of a sweep's settings: every student as a line through its settings to what they gave.

Parallel coordinates (Inselberg 1985, https://doi.org/10.1007/BF01898350). The colour of a line is
its quality on the validation split, by which a sweep chooses.
"""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.ticker import MaxNLocator

from pipeline.config.sweep import Varied
from pipeline.facts.sweep import StudentFile, Sweep
from pipeline.report.headline import spaced
from pipeline.report.plots.drawing import FAINT, INK, new_figure, png_bytes

_MOST_MARKS = 6
"""Values that are named on an axis."""
_APART = 0.006
"""Distance of lines that meet in one value, as a part of the axis."""

_Column = tuple[str, Sequence[Varied]]
"""Title of an axis, and each student's value on it."""


def plot_settings(sweep: Sweep) -> bytes:
    """Return a PNG: a line for each file that may ship, through settings, latency and quality."""
    files = [file for file in sweep.files if file.refused is None]
    quality = [_quality(sweep, file) for file in files]
    columns = _columns(sweep, files)
    scales = [_scale(values) for _, values in columns]
    places = [_apart(heights) for heights, _ in scales]
    scale = ScalarMappable(Normalize(min(quality), max(quality)), _colours())
    colours = scale.to_rgba(np.array(quality))
    figure = new_figure(3.8, _finding(sweep))
    panel = figure.subplots()
    for number, file in enumerate(files):
        picked = file.name == sweep.pick.name
        panel.plot(
            range(len(columns)),
            [column[number] for column in places],
            color=colours[number],
            linewidth=3.2 if picked else 1.3,
            alpha=1.0 if picked or sweep.pick.name is None else 0.75,
            zorder=3 if picked else 2,
        )
    for position, ((title, _), (_, marks)) in enumerate(zip(columns, scales, strict=True)):
        _draw_axis(panel, position, title, marks)
    panel.set_xlim(-0.15, len(columns) - 0.5)
    panel.set_ylim(-0.08, 1.3)
    panel.axis("off")
    return png_bytes(figure)


def _finding(sweep: Sweep) -> str:
    """Return the title: what the best student has."""
    files = [file for file in sweep.files if file.refused is None]
    best = max(files, key=lambda file: _quality(sweep, file))
    return f"Best on the validation split: {best.name}"


def _columns(sweep: Sweep, files: Sequence[StudentFile]) -> list[_Column]:
    """Return the axes from left to right: settings, then what they gave."""
    times = {rung.arm: rung.mean_ms.value for rung in sweep.times.rungs}
    columns: list[_Column] = [
        (name.replace(".", ".\n"), [file.settings[name] for file in files])
        for name in files[0].settings
    ]
    columns.append(("layers", [len(file.layers) for file in files]))
    columns.append(("precision", [file.precision for file in files]))
    columns.append(("ms a text", [times[file.name] for file in files]))
    columns.append((f"{spaced(sweep.metric)} (%)", [_quality(sweep, file) for file in files]))
    return columns


def _quality(sweep: Sweep, file: StudentFile) -> float:
    """Return the main metric on the validation split, in per cent."""
    return 100 * float(sweep.quality.files[file.name].validation.values[sweep.metric])


def _scale(values: Sequence[Varied]) -> tuple[list[float], dict[str, float]]:
    """Return each value's height on its axis, from 0 to 1, and the heights of what is named there.

    Words stand in the order in which they come.
    """
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        numbers = [float(value) for value in values if value is not None]
        marks = sorted(set(numbers))
        if len(marks) > _MOST_MARKS:
            ticks = MaxNLocator(_MOST_MARKS - 1).tick_values(marks[0], marks[-1])
            marks = [tick for tick in ticks if marks[0] <= tick <= marks[-1]]
        named = {f"{mark:.4g}": mark for mark in marks}
    else:
        named = {str(value): float(place) for place, value in enumerate(dict.fromkeys(values))}
        numbers = [named[str(value)] for value in values]
    low, high = min(numbers), max(numbers)

    def height(number: float) -> float:
        return 0.5 if low == high else (number - low) / (high - low)

    return [height(number) for number in numbers], {text: height(at) for text, at in named.items()}


def _apart(heights: Sequence[float]) -> list[float]:
    """Return heights with equal ones a little apart, so that each line can be followed."""
    found = []
    for number, height in enumerate(heights):
        rank, count = heights[:number].count(height), heights.count(height)
        found.append(height + _APART * (rank - (count - 1) / 2))
    return found


def _draw_axis(panel: Axes, position: int, title: str, marks: dict[str, float]) -> None:
    """Draw an axis with its title, and its values beside it."""
    panel.axvline(position, 0.058, 0.783, color=FAINT, linewidth=1.2, zorder=1)
    panel.text(position, 1.08, title, fontsize=7.5, color=INK, ha="center", va="bottom")
    for text, height in marks.items():
        panel.text(
            *(position + 0.04, height, text),
            fontsize=7,
            color=INK,
            va="center",
            zorder=4,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.6},
        )


def _colours() -> Colormap:
    return mpl.colormaps["viridis"].reversed()
