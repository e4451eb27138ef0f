"""The command `adapter-distill compare`: adapters against LoRA and full fine-tuning."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from flows.terminal import prepare_environment, prepare_terminal


def compare(
    config: Annotated[Path, typer.Argument(help="TOML file; its [compare] says what is compared.")],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override one setting."),
    ] = None,
) -> None:
    """Train adapters, LoRA and the whole model on one budget, and compare them and their students.

    Finished trainings are used again: those of `run`, and of an earlier comparison.
    """
    from pipeline.config_file import load_config

    settings = load_config(config, overrides or [])
    prepare_environment(verbose=False)
    prepare_terminal(verbose=False)
    from flows.compare import compare as run_comparison

    folder = run_comparison(settings)
    rows = json.loads((folder / "table.json").read_text(encoding="utf-8"))
    table = Table(title=f"{settings.name}: ways to adapt {settings.teacher.model}")
    for column in rows[0]:
        table.add_column(column, justify="left" if column == "model" else "right")
    for row in rows:
        table.add_row(*row.values())
    console = Console()
    (console if console.is_terminal else Console(width=130)).print(table, markup=False)
    console.print(f"comparison: {folder / 'comparison.md'}", markup=False, soft_wrap=True)
