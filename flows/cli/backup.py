"""The commands `adapter-distill backup` and `restore`: the state folder of `up` as one file."""

from pathlib import Path
from typing import Annotated

import typer

State = Annotated[Path, typer.Option(help="State folder of `adapter-distill up`.")]
STATE = Path("state")


def backup_command(
    file: Annotated[Path, typer.Argument(help="New file.")], state: State = STATE
) -> None:
    """Write the state of `up` (databases, registry, runs) into one file, also while `up` runs."""
    from flows.up.backup import write_backup

    contents = write_backup(state, file)
    size = file.stat().st_size / 1e6
    typer.echo(f"{file}: {len(contents.files)} files of {contents.state}, {size:.1f} MB")


def restore_command(
    file: Annotated[Path, typer.Argument(help="File that `backup` wrote.")], state: State = STATE
) -> None:
    """Restore a state folder from a backup, with every digest checked; it must not exist."""
    from flows.up.backup import restore_backup

    contents = restore_backup(file, state)
    typer.echo(
        f"{contents.state}: {len(contents.files)} files. Start it with `adapter-distill up`."
    )
