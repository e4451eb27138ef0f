"""The command `adapter-distill compare`: adapters against LoRA and full fine-tuning."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from flows.cli.terminal import beside_imports, check_writable, rows_table


def compare_command(
    config: Annotated[Path, typer.Argument(help="TOML file with a table compare.")],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override one setting."),
    ] = None,
) -> None:
    """Train adapters, LoRA and the whole model on one budget, and compare them and their students.

    Finished trainings are used again: those of `run`, and of an earlier comparison.
    """
    from pipeline.config.load import load_config

    settings = load_config(config, overrides or [])
    check_writable(settings.runs_dir)
    with beside_imports(verbose=False) as wait:
        from flows.compare import compare as run_comparison

        wait()
        folder = run_comparison(settings)
    rows = json.loads((folder / "table.json").read_text(encoding="utf-8"))
    console = Console()
    (console if console.is_terminal else Console(width=130)).print(
        rows_table(f"{settings.name}: ways to adapt {settings.teacher.model}", rows)
    )
    console.print(f"comparison: {folder / 'comparison.md'}", markup=False, soft_wrap=True)
