"""The look of the report's plots: colours, figures, panels and marks.

Figures are made without pyplot, which keeps a global list of them: plots can be drawn in any
thread. An arm has one colour in all plots. The colours of teacher and student are from a palette
for colour-blind readers (Okabe & Ito, 2008, https://jfly.uni-koeln.de/color/).
"""

import base64
import io
import textwrap
from collections.abc import Mapping, Sequence
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from PIL import Image

from pipeline.facts.arms import PLAIN, STUDENT, TEACHER, Arm, model_of
from pipeline.facts.quality import Interval

COLOURS: Mapping[Arm, str] = {PLAIN: "#7a828c", TEACHER: "#d55e00", STUDENT: "#0072b2"}
VARIANT_COLOUR = "#56b4e9"
"""Colour of a student's file beside the one that was exported."""
INK, FAINT = "#1f2933", "#e4e7eb"

_WIDTH_IN, _DPI, _PALETTE = 7.2, 110, 96


def new_figure(height_in: float, finding: str) -> Figure:
    """Return an empty figure under a title that says what it shows."""
    layout = ConstrainedLayoutEngine(w_pad=0.07, wspace=0.03)
    figure = Figure(figsize=(_WIDTH_IN, height_in), dpi=_DPI, layout=layout)
    title = textwrap.fill(finding, 84)
    figure.suptitle(title, x=0.01, ha="left", fontsize=9.5, weight="bold", color=INK)
    return figure


def colour_of(arm: Arm) -> str:
    """Return an arm's colour: its model's, and a lighter one for a variant of the student."""
    model = model_of(arm)
    is_variant = model == STUDENT and arm != STUDENT
    return VARIANT_COLOUR if is_variant else COLOURS.get(model, COLOURS[PLAIN])


def style(
    panel: Axes, *, title: str, xlabel: str = "", grid: Literal["both", "x", "y"] = "both"
) -> None:
    """Give a panel its title, its label and a light frame."""
    panel.set_title(title, loc="left", fontsize=8.5, color=INK)
    panel.set_xlabel(xlabel, fontsize=8, color=INK)
    panel.tick_params(labelsize=8, labelcolor=INK, length=0)
    panel.grid(axis=grid, color=FAINT, linewidth=0.8)
    panel.set_axisbelow(True)
    panel.spines[["top", "right", "left"]].set_visible(False)
    panel.spines["bottom"].set_color(FAINT)


def set_rows(panel: Axes, names: Sequence[str]) -> None:
    """Name the rows of a horizontal plot, the first one at the top."""
    panel.set_yticks(range(len(names)), names)
    panel.set_ylim(len(names) - 0.4, -0.6)


def draw_interval(
    panel: Axes, row: int, value: float, interval: Interval, colour: str, *, hollow: bool = False
) -> None:
    """Draw a dot for the value on a line for its interval."""
    panel.plot(interval, [row, row], color=colour, linewidth=2.2)
    face = "white" if hollow else colour
    panel.plot(value, row, "o", mec=colour, mfc=face, mew=1.5, markersize=6.5)


def draw_curve(
    panel: Axes, points: Sequence[tuple[float, float]], colour: str, label: str | None = None
) -> None:
    """Draw (step, value) points and the line through them."""
    steps, values = [step for step, _ in points], [value for _, value in points]
    panel.plot(steps, values, color=colour, linewidth=1.6, marker="o", markersize=3, label=label)


def png_bytes(figure: Figure) -> bytes:
    """Return the figure as a PNG file with a palette, a third of the size of one without."""
    full, small = io.BytesIO(), io.BytesIO()
    figure.savefig(full, format="png")
    image = Image.open(full).convert("RGB")
    # Median cut, the default, would blend a rare colour, such as a legend's, with others.
    image = image.quantize(_PALETTE, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    image.save(small, format="png", optimize=True)
    return small.getvalue()


def data_uri(png: bytes) -> str:
    """Return a picture as a URI that holds it."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
