"""The command `adapter-distill new`."""

import difflib
from pathlib import Path
from typing import Annotated

import typer

from pipeline.errors import InputError


def new_command(
    what: Annotated[
        list[str],
        typer.Argument(
            metavar="[TASK] DATA",
            help="Table of your own: CSV, TSV, JSONL, Parquet, CoNLL or a text file. The task "
            "before it is needed only if the table fits several.",
        ),
    ],
    text: Annotated[
        list[str] | None,
        typer.Option(help="Column of the texts; twice for pairs of texts."),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(help="Column of the labels; several times for columns of 0 and 1."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Backbone: a folder, package://name/folder or a hub id.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="File to write; by default the table's name with .toml.")
    ] = None,
) -> None:
    """Write a commented config for a table of your own, ready to run."""
    task, source = _split_arguments(what)
    from pipeline.standalone.new import NewSettings, write_new_config
    from pipeline.tasks.columns import Given

    given = Given(text=tuple(text or ()), label=tuple(label or ()))
    path, assumed = write_new_config(
        NewSettings(source=source, task=task, given=given, model=model, out=out)
    )
    typer.echo(f"{path}: assumed")
    for each in assumed:
        typer.echo(f"  {each}")
    typer.echo(f"run it: adapter-distill run {path}")


def _split_arguments(what: list[str]) -> tuple[str | None, str]:
    """Return the task, where it is given, and the table."""
    from pipeline.tasks.all_tasks import TASKS

    *tasks, source = what
    if len(tasks) > 1:
        raise InputError(f"Expected a task and a file, found {len(what)} arguments.")
    names = ", ".join(TASKS)
    if tasks and tasks[0] not in TASKS:
        near = difflib.get_close_matches(tasks[0], TASKS, n=1)
        hint = f" (perhaps {near[0]})" if near else ""
        raise InputError(f"No task is called {tasks[0]!r}{hint}. The tasks are {names}.")
    if not tasks and source in TASKS and not Path(source).exists():
        raise InputError(f"Give the table too: adapter-distill new {source} FILE.")
    return (tasks[0] if tasks else None), source
