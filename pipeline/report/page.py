"""The report for people: a page, a model card and a short summary, each made of one `Report`.

The page is a single HTML document that fetches nothing. Styles are inline, plots are data URIs, and
there is no script. Jinja escapes texts from outside (labels, sources, notes) in HTML, and the
filter ``md`` in Markdown. The card's YAML holds them as JSON.
"""

from collections.abc import Mapping, Sequence

from pipeline.config import AdapterConfig, AdapterSource
from pipeline.decisions.check import Check, count_results
from pipeline.decisions.quality import worst_class, worst_first
from pipeline.facts.arms import Arm
from pipeline.facts.export import Parity
from pipeline.report.headline import answers, headlines
from pipeline.report.plots import plots
from pipeline.report.plots.drawing import data_uri
from pipeline.report.plots.latency_plots import plot_ladder, plot_latency
from pipeline.report.report import Report
from pipeline.report.templates import render_template
from pipeline.tasks.all_tasks import find_task


def render_page(report: Report, pictures: Mapping[str, bytes]) -> str:
    """Return the report with its plots as one self-contained HTML document."""
    uris = {name: data_uri(png) for name, png in pictures.items()}
    return _render("report.html", report, pictures=uris)


def draw_plots(report: Report) -> dict[str, bytes]:
    """Return the report's plots by name, each a PNG."""
    drawings = {
        "quality": plots.plot_quality,
        "latency": plot_latency,
        "sizes": plots.plot_sizes,
        "training": plots.plot_training,
    }
    if report.benchmark.ladder:
        drawings["ladder"] = plot_ladder
    if report.absorbed is not None and report.absorbed.sites:
        drawings["absorption"] = plots.plot_absorption
    return {name: draw(report) for name, draw in drawings.items()}


def render_card(report: Report) -> str:
    """Return the student's model card: Markdown under the YAML that the Hugging Face hub reads."""
    return _render("card.md", report)


def render_summary(report: Report) -> str:
    """Return verdict, quality and latency as GitHub-flavoured Markdown."""
    return _render("summary.md", report)


def render_checks(checks: Sequence[Check]) -> str:
    """Return every number against its limit as a Markdown table."""
    return render_template("checks.md", checks=checks)


def _render(template: str, report: Report, **extra: object) -> str:
    cells, classes = report.cells(), report.evaluation.classes
    return render_template(
        template,
        report=report,
        checks=report.checks,
        task=find_task(report.task),
        adapter=_described(report.teacher.adapter),
        worst=worst_class(classes) if classes else None,
        classes=worst_first(classes),
        cells=cells,
        first=cells[0],
        answers=answers(report),
        counted=count_results(report.checks),
        headlines=[line.partition(": ") for line in headlines(report)],
        worst_parity=_worst_parity(report),
        **extra,
    )


def _described(adapter: AdapterConfig | AdapterSource | None) -> dict[str, object]:
    """Return the settings of the adapters, or where they came from."""
    if not isinstance(adapter, AdapterSource):
        return adapter.model_dump() if adapter else {}
    references = adapter.references
    if adapter.names is not None:
        references = tuple(map(" = ".join, zip(adapter.names, references, strict=True)))
    described: dict[str, object] = {"imported from": ", ".join(references)}
    for setting in ("together", "fusion", "drop_layers"):
        if value := getattr(adapter, setting):
            described[setting] = value
    return described


def _worst_parity(report: Report) -> list[Parity]:
    """Return the comparison nearest to its tolerance for each model and mask."""
    worst: dict[tuple[Arm, str], Parity] = {}
    for check in report.exported.parity:
        found = worst.setdefault((check.model, check.mask), check)
        if check.max_abs_difference / check.tolerance > found.max_abs_difference / found.tolerance:
            worst[check.model, check.mask] = check
    return list(worst.values())
