"""The last lines of a run on the terminal: a table, the verdict and where the report is."""

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from flows.cli.benchmark_tables import ladder_table, verdict_table
from pipeline.decisions.quality import worst_class
from pipeline.facts.absorption import AbsorbFacts
from pipeline.facts.arms import PLAIN, STUDENT, TEACHER
from pipeline.facts.benchmark import Latency
from pipeline.facts.quality import Measured
from pipeline.facts.variants import QuantizeFacts
from pipeline.report.headline import answers, headlines, spaced
from pipeline.report.report import Report
from pipeline.tasks.all_tasks import find_task

if TYPE_CHECKING:
    from pipeline.standalone.inspect_teacher import Inspection

MIB = 1024**2


def print_summary(report: Report, folder: Path, console: Console) -> None:
    """Print what a person asks first, then what the run found."""
    benchmark, quantized = report.benchmark, report.quantized
    console.print(f"{report.name}: {report.verdict}", markup=False, style="bold")
    for reason in report.reasons:
        console.print(f"  - {reason}", markup=False)
    for question, answer in answers(report):
        console.print(f"{question}: {answer}", markup=False, highlight=False, soft_wrap=True)
    console.print(_models_table(report), markup=False)
    if benchmark.ladder:
        console.print(ladder_table(benchmark.ladder), markup=False)
    if benchmark.verdict is not None:
        console.print(verdict_table(benchmark.verdict), markup=False)
    if quantized is not None:
        _print_variants(report, quantized, console)
    for warning in report.warnings:
        console.print(f"note: {warning}", markup=False)
    console.print(f"verdict: {report.verdict}", markup=False, style="bold")
    console.print(f"report: {folder / 'report.html'}", markup=False, soft_wrap=True)
    for line in headlines(report):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print(f"student: {folder / 'student'}", markup=False, soft_wrap=True)


def _models_table(report: Report) -> Table:
    """Return quality, size and latency of the three models."""
    task, evaluation = find_task(report.task), report.evaluation
    table = Table(title=f"{report.run_id}: adapter teacher and adapter-free student (ONNX)")
    table.add_column("")
    for column in ("head only", "adapter teacher", "student"):
        table.add_column(column, justify="right")
    for name in evaluation.student.values:
        table.add_row(
            spaced(name), *(_with_interval(each, name) for each in report.quality.values())
        )
    agreement = _with_interval(evaluation.fidelity, task.agreement)
    table.add_row(task.words.agreement, "", "", agreement)
    distance = f"{evaluation.fidelity.values[task.distance]:.5f}"
    table.add_row(task.words.distance, "", "", distance)
    if evaluation.classes:
        worst = worst_class(evaluation.classes)
        low, high = worst.interval
        lost = f"{worst.recall_lost:.4f} [{low:.3f}, {high:.3f}]"
        table.add_row(f"most recall lost: {worst.label}", "", "", lost)
    table.add_row("parameters", *(f"{count:,}" for count in report.parameters.values()))
    table.add_row("ONNX size, MiB", *(f"{size / MIB:.1f}" for size in report.onnx_bytes.values()))
    for cell in report.cells():
        table.add_row(
            f"wall ms (CPU time / plain), {cell[PLAIN].cell}",
            f"{cell[PLAIN].median_ms:.2f}",
            *(_latency(cell[arm]) for arm in (TEACHER, STUDENT)),
        )
    return table


def _print_variants(report: Report, quantized: QuantizeFacts, console: Console) -> None:
    task = find_task(report.task)
    times = ", ".join(
        f"{v.name} {v.cpu_ratio:.3f}" if v.cpu_ratio is not None else f"{v.name} refused"
        for v in quantized.variants
    )
    console.print(f"ships as: {quantized.chosen} (CPU time: {times})", markup=False)
    if report.evaluation.fidelity_fp32 is not None:
        fp32 = report.evaluation.fidelity_fp32.values
        console.print(
            f"before quantisation: {task.words.agreement} {fp32[task.agreement]:.4f}, "
            f"{task.words.distance} {fp32[task.distance]:.5f}",
            markup=False,
        )


def print_inspection(inspection: "Inspection", console: Console) -> None:
    """Print what a teacher's adapters are, and how they will be absorbed."""

    def say(text: str) -> None:
        console.print(text, markup=False, soft_wrap=True)

    say(f"{inspection.task}, {len(inspection.labels)} outputs, in {inspection.backbone}")
    for name, adapter in inspection.adapters.items():
        places = [place for place in ("attention", "ffn") if getattr(adapter, place)]
        say(
            f"adapter {name}: {adapter.form.bottleneck_size} units, {adapter.form.activation}, at "
            f"{' and '.join(places)} of each layer"
        )
    say(
        f"{inspection.parameters:,} parameters; they add {inspection.extra_work:.1%} to the "
        "multiplications of the layers"
    )
    fold = inspection.fold
    if fold.possible:
        width = f"with FFNs {fold.extra_units} units wider" if fold.extra_units else "at no cost"
        say(f"They fold exactly, {width}.")
    else:
        say("They do not fold exactly, and will be absorbed by regression:")
    for sentence in (*fold.obstacles, *inspection.advice):
        say(f"  {sentence}")
    trial = inspection.trial
    if trial is None:
        say("next: the same with --texts FILE, for a trial")
        return
    print_fits(trial.facts, console)
    say(f"about {trial.seconds_per_1000:.0f} s for 1,000 texts on this machine")


def print_absorption(facts: AbsorbFacts, folder: Path, console: Console) -> None:
    """Print how a student absorbed its teacher's adapters."""
    print_fits(facts, console)
    console.print(f"student: {folder}", markup=False, soft_wrap=True)


def print_fits(facts: AbsorbFacts, console: Console) -> None:
    """Print how close a student came at each site, and in all."""
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
    where = {
        "validation": "Before any gradient step, on the validation split:",
        "given": "Before any gradient step, on held-out texts that the teacher may know:",
    }
    console.print(where[facts.held_out_texts], markup=False)
    for name, value in facts.held_out.items():
        console.print(f"  {spaced(name)}: {value:.5g}", markup=False)


def _with_interval(measured: Measured, name: str) -> str:
    low, high = measured.intervals[name]
    return f"{measured.values[name]:.4f} [{low:.3f}, {high:.3f}]"


def _latency(entry: Latency) -> str:
    interval = f"[{entry.ci_low:.3f}, {entry.ci_high:.3f}]"
    return f"{entry.median_ms:.2f} ({entry.ratio_to_plain:.3f} {interval})"
