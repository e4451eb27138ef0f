"""A run's facts as Prefect artifacts: the summary and the latency table of its page in the UI."""

from pathlib import Path

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from pipeline.benchmark_records import Estimate, Rung
from pipeline.page import render_summary
from pipeline.report import Report
from pipeline.verdict_reasons import change_text, removed_text


def show_report(folder: Path) -> None:
    """Create the summary (markdown), latency, ladder and verdict (tables) of a finished run."""
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
                "cell": entry.cell,
                "median ms": round(entry.median_ms, 3),
                "ratio to plain": round(entry.ratio_to_plain, 4),
                "interval": f"{entry.ci_low:.3f} to {entry.ci_high:.3f}",
            }
            for entry in report.latency
        ],
        description=f"onnxruntime, one thread, {report.machine['cpu']}",
    )
    if report.ladder:
        create_table_artifact(
            key="latency-ladder",
            table=[_rung(rung) for rung in report.ladder],
            description="Wall time of one text, one thread, from the teacher in PyTorch down",
        )
    if report.overhead is not None:
        create_table_artifact(
            key="overhead-verdict",
            table=[
                {
                    "cell": cell.cell,
                    "same file again": change_text(cell.again),
                    "adapters' cost": change_text(cell.teacher),
                    "student": change_text(cell.student),
                    "removed": removed_text(cell),
                    "outcome": cell.outcome.replace("_", " "),
                }
                for cell in report.overhead.cells
            ],
            description=f"The adapters' overhead: {report.overhead.outcome.replace('_', ' ')}",
        )


def _rung(rung: Rung) -> dict[str, object]:
    return {
        "arm": rung.arm,
        "ms": round(rung.mean_ms.value, 3),
        "p50 ms": round(rung.p50_ms, 3),
        "p95 ms": round(rung.p95_ms, 3),
        "times faster than the teacher in PyTorch": _times(rung.faster_than_torch),
        "times faster than the teacher in onnxruntime": _times(rung.faster_than_teacher),
    }


def _times(ratio: Estimate | None) -> str:
    return f"{ratio.value:.2f} ({ratio.low:.2f} to {ratio.high:.2f})" if ratio else ""
