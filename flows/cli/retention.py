"""The command `adapter-distill gc`: runs, stages and logs that nothing needs."""

import time

import typer

from flows.cli.models import REGISTRY_VARIABLE
from flows.cli.options import with_options_of
from pipeline.retention.settings import Retention


@with_options_of(Retention, registry=typer.Option(envvar=REGISTRY_VARIABLE))
def gc_command(asked: Retention) -> None:
    """List old runs, stages and logs that nothing needs, with sizes; remove them with --remove.

    Everything that a champion, an alias, a roll back, a link or a kept run needs always stays.
    """
    from pipeline.retention.collection import collect

    now_s = time.time()
    found = collect(asked, now_s)
    does = "removed" if asked.remove else "would remove"
    for each, why in found.needed:
        typer.echo(f"kept: {each.kind} {each.path} ({why})")
    for path in found.unknown:
        typer.echo(f"unknown, kept: {path}")
    for each, size in found.gone:
        days = (
            "" if each.kind == "trash" else f", used {(now_s - each.used_s) / 86400:.0f} days ago"
        )
        typer.echo(f"{does}: {each.kind} {each.path} ({_megabytes(size)}{days})")
    cut = "cut" if asked.remove else "would cut"
    for log in found.logs:
        typer.echo(f"{cut}: log {log.path} ({_megabytes(log.cut_bytes)})")
    number = len(found.gone) + len(found.logs)
    hint = (
        "" if asked.remove or not number else " Nothing was removed. Give --remove to remove them."
    )
    typer.echo(f"{does} {number}, which frees {_megabytes(found.freed_bytes)}.{hint}")


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
