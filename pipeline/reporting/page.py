"""The report for people: a page, a model card and a short summary, each made of one `Report`.

The page is a single HTML document that fetches nothing: styles are inline, plots are data URIs,
and there is no script. Texts from outside (labels, sources, notes) are escaped: by Jinja in HTML,
by the filter ``md`` in Markdown, and as JSON in the card's YAML.
"""

import base64
import html
import re
from collections.abc import Callable, Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from pipeline.checks import Check
from pipeline.proof.class_quality import worst_class
from pipeline.proof.records import Estimate
from pipeline.proof.verdict_reasons import change_text, removed_text
from pipeline.records import Parity
from pipeline.reporting import plots
from pipeline.reporting.headline import TIMES, headlines
from pipeline.reporting.latency_plots import plot_ladder, plot_latency
from pipeline.reporting.report import Report


def render_page(report: Report) -> str:
    """Return the report as one self-contained HTML document."""
    return _render("report.html", report, pictures=render_plots(report))


def render_plots(report: Report) -> dict[str, str]:
    """Return the report's plots by name, each a PNG as a data URI."""
    drawings = {
        "quality": plots.plot_quality,
        "latency": plot_latency,
        "sizes": plots.plot_sizes,
        "training": plots.plot_training,
    }
    if report.ladder:
        drawings["ladder"] = plot_ladder
    if report.student.absorbed is not None and report.student.absorbed.sites:
        drawings["absorption"] = plots.plot_absorption
    return {name: data_uri(draw(report)) for name, draw in drawings.items()}


def render_card(report: Report) -> str:
    """Return the student's model card: Markdown under the YAML that the Hugging Face hub reads."""
    return _render("card.md", report)


def render_summary(report: Report) -> str:
    """Return verdict, quality and latency as GitHub-flavoured Markdown."""
    return _render("summary.md", report)


def render_checks(checks: Sequence[Check]) -> str:
    """Return every number against its limit as a Markdown table."""
    return _environment().get_template("checks.md").render(checks=checks)


def _render(template: str, report: Report, **extra: object) -> str:
    cells = report.cells()
    return (
        _environment()
        .get_template(template)
        .render(
            report=report,
            checks=report.checks,
            worst=worst_class(report.classes),
            cells=cells,
            first=cells[0],
            headlines=[line.partition(": ") for line in headlines(report)],
            worst_parity=_worst_parity(report),
            **extra,
        )
    )


def _environment() -> Environment:
    """Return the templates with the filters that write numbers and texts."""
    environment = Environment(
        loader=PackageLoader("pipeline"),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    filters: dict[str, Callable[..., str]] = {
        "percent": _percent,
        "signed": _signed,
        "megabytes": _megabytes,
        "duration": _duration,
        "change": change_text,
        "removed": removed_text,
        "times": _times,
        "md": _escape_markdown,
    }
    environment.filters.update(filters)
    return environment


def _worst_parity(report: Report) -> list[Parity]:
    """Return the comparison nearest to its tolerance for each model and mask."""
    worst: dict[tuple[str, str], Parity] = {}
    for check in report.parity.checks:
        found = worst.setdefault((check.model, check.mask), check)
        if check.max_abs_difference / check.tolerance > found.max_abs_difference / found.tolerance:
            worst[check.model, check.mask] = check
    return list(worst.values())


def data_uri(png: bytes) -> str:
    """Return a picture as a URI that holds it."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _percent(fraction: float, digits: int = 2) -> str:
    """Return a fraction of 1 as a percentage."""
    return f"{fraction:.{digits}%}"


def _signed(value: float, digits: int = 4) -> str:
    """Return a number that always shows its sign; what rounds to zero has none."""
    rounded = round(value, digits)
    text = f"{rounded:+.{digits}f}" if rounded else f"{0:.{digits}f}"
    return text.replace("-", "\N{MINUS SIGN}")


def _megabytes(size_bytes: int) -> str:
    """Return a size in MB, a million bytes each."""
    return f"{size_bytes / 1e6:.1f} MB"


def _times(ratio: Estimate | None) -> str:
    """Return how many times faster: ``2.21x (2.17 to 2.25)``; nothing for None."""
    if ratio is None:
        return ""
    return f"{ratio.value:.2f}{TIMES} ({ratio.low:.2f} to {ratio.high:.2f})"


def _duration(seconds: float) -> str:
    """Return seconds as people say them."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def _escape_markdown(text: object) -> str:
    """Return a text that stays a text in Markdown: no HTML, no markup, no new line or column."""
    one_line = " ".join(str(text).split())
    without_html = html.escape(one_line, quote=False)
    return re.sub(r"([\\`*\[\]|])", r"\\\1", without_html)
