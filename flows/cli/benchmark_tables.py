"""Tables on the terminal of a benchmark's results."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from pipeline.decisions.overhead_reasons import change_text, removed_text
from pipeline.facts.benchmark import BenchmarkFacts
from pipeline.facts.latency import Estimate, Rung
from pipeline.facts.overhead import Verdict
from pipeline.timing.change import MeasurementChange


def verdict_table(verdict: Verdict) -> Table:
    """Return the four numbers of every cell."""
    table = _table("Is the adapters' overhead gone? CPU time against the plain backbone")
    for column in ("same file again", "teacher", "student", "removed", "blocks"):
        table.add_column(column, justify="right")
    for cell in verdict.cells:
        table.add_row(
            cell.cell,
            change_text(cell.a_a_arm),
            change_text(cell.teacher),
            change_text(cell.student),
            removed_text(cell),
            str(cell.blocks),
        )
    means = (verdict.a_a_arm, verdict.teacher, verdict.student)
    table.add_row("geometric mean", *(change_text(mean) for mean in means), "", "")
    return table


def ladder_table(ladder: Sequence[Rung]) -> Table:
    """Return the wall time of a text on every rung, and how many times faster it became."""
    table = _table("Wall time of one text, one thread")
    for column in (
        "mean wall ms",
        "p95 wall ms",
        "faster than PyTorch, wall time",
        "faster than teacher, wall time",
    ):
        table.add_column(column, justify="right")
    for rung in ladder:
        table.add_row(
            rung.arm,
            f"{rung.mean_ms.value:.2f}",
            f"{rung.p95_ms:.2f}",
            _times(rung.faster_than_torch),
            _times(rung.faster_than_teacher),
        )
    return table


def print_benchmark(facts: BenchmarkFacts, console: Console) -> None:
    """Print a benchmark of any files."""
    console.print(_structure_table(facts), markup=False)
    for cell in dict.fromkeys(entry.cell for entry in facts.latency):
        console.print(_cell_table(facts, cell), markup=False)
    if facts.ladder:
        console.print(ladder_table(facts.ladder), markup=False)
    console.print(_cost_table(facts), markup=False)
    if facts.verdict is not None:
        console.print(verdict_table(facts.verdict), markup=False)
        said = facts.verdict.outcome.replace("_", " ")
        console.print(f"verdict: {said} ({facts.verdict.claim})", markup=False, style="bold")
        for reason in facts.verdict.reasons:
            console.print(f"  - {reason}", markup=False)


def print_comparison(comparison: MeasurementChange, console: Console) -> None:
    """Print how a candidate changed between two measurements."""
    table = _table(f"{comparison.new} (B) against {comparison.old} (A)")
    for column in ("B / A", "interval", "how"):
        table.add_column(column, justify="right")
    for row in comparison.rows:
        low, high = row.ratio.low, row.ratio.high
        table.add_row(row.cell, f"{row.ratio.value:.4f}", f"{low:.4f} to {high:.4f}", row.how)
    console.print(table, markup=False)
    console.print(comparison.finding, markup=False, style="bold")


def _structure_table(facts: BenchmarkFacts) -> Table:
    table = _table("Structure")
    for column in ("hash", "nodes", "parameters", "multiply-adds", "MB", "adapter names"):
        table.add_column(column, justify="right")
    for arm, graph in facts.graphs.items():
        table.add_row(
            arm,
            graph.hash,
            str(sum(graph.operators.values())),
            f"{graph.parameters:,}",
            "unknown" if graph.multiply_adds is None else f"{graph.multiply_adds:,}",
            f"{graph.size_bytes / 1e6:.1f}",
            str(len(graph.adapter_traces)),
        )
    return table


def _cell_table(facts: BenchmarkFacts, cell: str) -> Table:
    table = _table(f"{cell}: one thread")
    for column in ("p50 wall ms", "p95 wall ms", "p99 wall ms", "CPU time to baseline", "interval"):
        table.add_column(column, justify="right")
    for entry in (entry for entry in facts.latency if entry.cell == cell):
        table.add_row(
            entry.arm,
            f"{entry.median_ms:.2f}",
            f"{entry.p95_ms:.2f}",
            f"{entry.p99_ms:.2f}",
            f"{entry.ratio_to_plain:.4f}",
            f"{entry.ci_low:.4f} to {entry.ci_high:.4f}",
        )
    return table


def _cost_table(facts: BenchmarkFacts) -> Table:
    table = _table("Wall time on all cores, a process each")
    for column in ("threads", "load ms", "peak MB", "p50 ms", "p95 ms", "p99 ms", "texts/s"):
        table.add_column(column, justify="right")
    for arm, cost in facts.costs.items():
        numbers = (cost.load_ms, cost.peak_rss_bytes / 1e6, cost.p50_ms, cost.p95_ms, cost.p99_ms)
        shown = (f"{number:.1f}" for number in (*numbers, cost.texts_per_second))
        table.add_row(arm, str(cost.threads), *shown)
    return table


def _table(title: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("")
    return table


def _times(ratio: Estimate | None) -> str:
    return f"{ratio.value:.2f} x [{ratio.low:.2f}, {ratio.high:.2f}]" if ratio else ""
