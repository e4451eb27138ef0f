"""A run's facts as Prefect artifacts: what its page in the UI shows.

Plots are PNGs inside the Markdown, as data URIs: no web server is needed to see them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate

from pipeline.decisions.overhead_reasons import change_text, removed_text
from pipeline.facts.benchmark import BenchmarkFacts, Latency
from pipeline.facts.latency import Rung
from pipeline.facts.overhead import CellVerdict
from pipeline.report.headline import times_text
from pipeline.report.page import render_checks, render_summary
from pipeline.report.plots.drawing import data_uri
from pipeline.report.publish import PLOTS
from pipeline.report.report import Report


def show_report(folder: Path) -> None:
    """Create what a run's page shows: summary, gate, curves, latency, ladder, verdict, a link."""
    report = Report.model_validate_json((folder / "report.json").read_text(encoding="utf-8"))
    create_markdown_artifact(
        key="distill-summary",
        markdown=render_summary(report),
        description=f"{report.name}: {report.verdict}",
    )
    create_markdown_artifact(
        key="gate-report",
        markdown=f"## {report.run_id}: {report.verdict}\n\n{render_checks(report.checks)}",
        description=f"every number against its limit: {report.verdict}",
    )
    for plot in sorted((folder / PLOTS).glob("*.png")):
        create_markdown_artifact(key=f"plot-{plot.stem}", markdown=_picture(plot))
    create_link_artifact(
        key="report-page",
        link=(folder / "report.html").resolve().as_uri(),
        link_text="report.html",
        description="every number and plot, on the machine of the worker",
    )
    _show_benchmark(report.benchmark)


def _show_benchmark(facts: BenchmarkFacts) -> None:
    """Create the tables of latency, ladder and verdict."""
    create_table_artifact(
        key="onnx-latency",
        table=[_latency(entry) for entry in facts.latency],
        description=f"onnxruntime, one thread, {facts.machine['cpu']}",
    )
    if facts.ladder:
        create_table_artifact(
            key="latency-ladder",
            table=[_rung(rung) for rung in facts.ladder],
            description="Wall time of one text, one thread, from the teacher in PyTorch down",
        )
    if facts.verdict is not None:
        create_table_artifact(
            key="overhead-verdict",
            table=[_cell(cell) for cell in facts.verdict.cells],
            description=f"The adapters' overhead: {facts.verdict.outcome.replace('_', ' ')}",
        )


def _latency(entry: Latency) -> dict[str, object]:
    return {
        "arm": entry.arm,
        "cell": entry.cell,
        "median wall ms": round(entry.median_ms, 3),
        "CPU time to plain": round(entry.ratio_to_plain, 4),
        "interval": f"{entry.ci_low:.3f} to {entry.ci_high:.3f}",
    }


def _cell(cell: CellVerdict) -> dict[str, object]:
    return {
        "cell": cell.cell,
        "same file again": change_text(cell.a_a_arm),
        "adapters' cost": change_text(cell.teacher),
        "student": change_text(cell.student),
        "removed": removed_text(cell),
        "outcome": cell.outcome.replace("_", " "),
    }


def _rung(rung: Rung) -> dict[str, object]:
    return {
        "arm": rung.arm,
        "mean wall ms": round(rung.mean_ms.value, 3),
        "p50 wall ms": round(rung.p50_ms, 3),
        "p95 wall ms": round(rung.p95_ms, 3),
        "times faster than the teacher in PyTorch, wall time": times_text(rung.faster_than_torch),
        "times faster than the teacher in onnxruntime, wall time": times_text(
            rung.faster_than_teacher
        ),
    }


def show_rows(key: str, rows: Sequence[dict[str, str]], picture: Path, *, description: str) -> None:
    """Create a table and its plot, with their description."""
    create_table_artifact(key=key, table=list(rows), description=description)
    create_markdown_artifact(key=f"{key}-plot", markdown=f"{description}\n\n{_picture(picture)}")


def _picture(file: Path) -> str:
    """Return a PNG inside Markdown."""
    return f"![{file.stem}]({data_uri(file.read_bytes())})"


# Any: Prefect's own types of a hook's arguments are generic in the flow.
def explain_failure(flow: Any, flow_run: Any, state: Any) -> None:
    """Say on a failed run's page what happened, and how to go on: a state hook."""
    artifact = ArtifactCreate(
        key="failure",
        type="markdown",
        data=(
            f"## {flow.name}: {state.name}\n\n```\n{state.message or 'no message'}\n```\n\n"
            "Finished stages and checkpoints are kept. Continue with *Retry* on this page, "
            f"or with\n\n```\nprefect flow-run retry {flow_run.id}\n```"
        ),
        description="what happened, and how to continue",
        # The hook of a crash runs outside of its run, which Prefect would not find by itself.
        flow_run_id=flow_run.id,
    )
    with get_client(sync_client=True) as client:
        client.create_artifact(artifact)
