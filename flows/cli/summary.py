"""The last lines of a run on the terminal: a table, the verdict and where the report is."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from flows.cli.benchmark_tables import ladder_table, verdict_table
from pipeline.decisions.quality import worst_class
from pipeline.facts.absorption import AbsorbFacts
from pipeline.facts.benchmark import Latency
from pipeline.report.headline import headlines
from pipeline.report.report import ModelPart, Report

MIB = 1024**2


def print_summary(report: Report, folder: Path, console: Console) -> None:
    """Print what the run found."""
    table = Table(title=f"{report.run_id}: adapter teacher and adapter-free student (ONNX)")
    table.add_column("")
    for column in ("head only", "adapter teacher", "student"):
        table.add_column(column, justify="right")
    models: tuple[ModelPart, ...] = (report.head_only, report.teacher, report.student)
    for name in models[0].metrics:
        table.add_row(name.replace("_", " "), *(_with_interval(m, name) for m in models))
    agreement_low, agreement_high = report.fidelity.intervals["agreement"]
    agreement = f"{report.fidelity.agreement:.4f} [{agreement_low:.3f}, {agreement_high:.3f}]"
    table.add_row("agreement with teacher", "", "", agreement)
    table.add_row("mean KL to teacher", "", "", f"{report.fidelity.mean_kl:.5f}")
    worst = worst_class(report.classes)
    low, high = worst.interval
    lost = f"{worst.recall_lost:.4f} [{low:.3f}, {high:.3f}]"
    table.add_row(f"most recall lost: {worst.label}", "", "", lost)
    table.add_row("parameters", *(f"{m.total_parameters:,}" for m in models))
    table.add_row("ONNX size, MiB", *(f"{m.onnx_bytes / MIB:.1f}" for m in models))
    for cell in report.cells():
        table.add_row(
            f"ms a call, {cell['plain'].cell}",
            f"{cell['plain'].median_ms:.2f}",
            *(_latency(cell[arm]) for arm in ("teacher", "student")),
        )
    console.print(table, markup=False)
    if report.ladder:
        console.print(ladder_table(report.ladder), markup=False)
    if report.overhead is not None:
        console.print(verdict_table(report.overhead), markup=False)
    if report.quantized is not None:
        facts, fp32 = report.quantized.facts, report.quantized.fidelity_fp32.values
        times = ", ".join(
            f"{v.name} {v.cpu_ratio:.3f}" if v.cpu_ratio is not None else f"{v.name} refused"
            for v in facts.variants
        )
        console.print(f"ships as: {facts.chosen} (CPU time: {times})", markup=False)
        console.print(
            f"before quantisation: agreement {fp32['agreement']:.4f}, KL {fp32['mean_kl']:.5f}",
            markup=False,
        )
    for warning in report.warnings:
        console.print(f"note: {warning}", markup=False)
    console.print(f"verdict: {report.verdict}", markup=False, style="bold")
    for reason in report.reasons:
        console.print(f"  - {reason}", markup=False)
    console.print(f"report: {folder / 'report.html'}", markup=False, soft_wrap=True)
    for line in headlines(report):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print(f"student: {folder / 'student'}", markup=False, soft_wrap=True)


def print_absorption(facts: AbsorbFacts, folder: Path, console: Console) -> None:
    """Print how a student absorbed its teacher's adapters."""
    if facts.method == "exact":
        width = f", every FFN {facts.extra_units} units wider" if facts.extra_units else ""
        console.print(f"folded exactly{width}", markup=False)
    else:
        console.print(
            f"Held-out R² by site, from {facts.texts:,} texts ({facts.tokens:,} tokens)",
            markup=False,
        )
        table = Table()
        for column in ("layer", "attention", "ffn"):
            table.add_column(column, justify="right")
        for layer in sorted({fit.layer for fit in facts.sites}):
            fits = {fit.site: f"{fit.r2:.3f}" for fit in facts.sites if fit.layer == layer}
            table.add_row(str(layer), fits["attention"], fits["ffn"])
        console.print(table, markup=False)
    if facts.embeddings_r2 is not None:
        console.print(
            f"held-out R² of the embeddings (invertible adapter): {facts.embeddings_r2:.3f}",
            markup=False,
        )
    for name, value in facts.held_out.items():
        console.print(f"held-out {name.replace('_', ' ')}: {value:.5g}", markup=False)
    console.print(f"student: {folder}", markup=False, soft_wrap=True)


def _with_interval(model: ModelPart, name: str) -> str:
    low, high = model.intervals[name]
    return f"{model.metrics[name]:.4f} [{low:.3f}, {high:.3f}]"


def _latency(entry: Latency) -> str:
    interval = f"[{entry.ci_low:.3f}, {entry.ci_high:.3f}]"
    return f"{entry.median_ms:.2f} = {entry.ratio_to_plain:.3f} x {interval}"
