"""A run's facts as Prefect artifacts: the summary and the latency table of its page in the UI."""

from pathlib import Path

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from pipeline.page import render_summary
from pipeline.report import Report


def show_report(folder: Path) -> None:
    """Create the summary (markdown) and the latency (table) of a finished run."""
    report = Report.model_validate_json((folder / "report.json").read_text(encoding="utf-8"))
    create_markdown_artifact(
        key="distill-summary",
        markdown=render_summary(report),
        description=f"{report.name}: {report.verdict}",
    )
    create_table_artifact(
        key="onnx-latency",
        table=[
            {
                "arm": entry.arm,
                "batch": entry.batch,
                "tokens": entry.length,
                "median ms": round(entry.median_ms, 3),
                "ratio to plain": round(entry.ratio_to_plain, 4),
                "interval": f"{entry.ci_low:.3f} to {entry.ci_high:.3f}",
            }
            for entry in report.latency
        ],
        description=f"onnxruntime, one thread, {report.machine['cpu']}",
    )
