"""The command `adapter-distill sweep`: smaller students, the front, and the one to pick."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from flows.cli.terminal import beside_imports, check_writable, rows_table

NOTHING_PICKED = 3
_ON_THE_PAGE_ONLY = (
    "layers",
    "p95 wall ms",
    "\N{MULTIPLICATION SIGN} PyTorch teacher, CPU time",
)


def sweep_command(
    config: Annotated[Path, typer.Argument(help="TOML file with a table sweep.")],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override one setting: sweep.layers=[4,3]"),
    ] = None,
    time_again: Annotated[
        bool, typer.Option(help="Measure the latency again, and reuse everything else.")
    ] = False,
    verbose: Annotated[bool, typer.Option(help="Show logs of Prefect and the libraries.")] = False,
) -> None:
    """Make students of fewer layers, in fp32 and int8, and pick one by the limits of the gate.

    With gate.min_quality, the fastest student that reaches it is picked. With gate.max_latency_ms,
    the best student that is as fast is picked. It becomes a run like any other. A killed sweep
    continues where it stopped when the same command is given again. With sweep.trials, Optuna
    proposes that many combinations of the varied settings, in place of all of them.

    Exit code 3 means that no student meets the limits, or that the gate refused the picked one.
    """
    from pipeline.config.load import load_config

    settings = load_config(config, overrides or [])
    check_writable(settings.runs_dir)
    with beside_imports(verbose=verbose) as wait:
        from flows.sweep import sweep_students
        from pipeline.report.sweep_page import PICKED
        from pipeline.tasks.all_tasks import find_task

        wait()
        folder = sweep_students(settings, time_again=time_again)
    terminal = Console()
    console = terminal if terminal.is_terminal else Console(width=150)
    table = json.loads((folder / "table.json").read_text(encoding="utf-8"))
    hidden = (*_ON_THE_PAGE_ONLY, find_task(settings.task).words.agreement)
    rows = [{name: row[name] for name in row if name not in hidden} for row in table]
    console.print(rows_table(f"{settings.name}: smaller students, slowest first", rows))
    found = json.loads((folder / "sweep.json").read_text(encoding="utf-8"))
    if found["study"] is not None:
        console.print(found["study"]["summary"], markup=False, soft_wrap=True)
    console.print(found["pick"]["reason"], markup=False, style="bold", soft_wrap=True)
    console.print(f"sweep: {folder / 'sweep.html'}", markup=False, soft_wrap=True)
    if found["pick"]["name"] is None:
        raise typer.Exit(NOTHING_PICKED if any(found["asked"].values()) else 0)
    run = (folder / PICKED).resolve()
    report = json.loads((run / "report.json").read_text(encoding="utf-8"))
    console.print(f"verdict of its run: {report['verdict']}", markup=False)
    for reason in report["reasons"]:
        console.print(f"  - {reason}", markup=False, soft_wrap=True)
    console.print(
        f"student: {settings.runs_dir / run.name / 'student'}", markup=False, soft_wrap=True
    )
    raise typer.Exit(0 if report["verdict"] == "passed" else NOTHING_PICKED)
