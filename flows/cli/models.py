"""The commands of `adapter-distill models`: versions, promotion and roll back."""

import dataclasses
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from flows.cli.options import help_of, with_options_of
from flows.cli.terminal import patiently
from pipeline.config import RegistryPlace
from pipeline.release.aliases import CHAMPION
from pipeline.release.forms import PromotionForm, RollbackForm

if TYPE_CHECKING:  # imported when a command runs: --help needs none of it
    from pipeline.release.registry import Version

models = typer.Typer(
    no_args_is_help=True, help="Registered students: list, compare, promote, roll back, pull."
)

REGISTRY_VARIABLE = "MLFLOW_TRACKING_URI"
"""Environment variable that names the registry, as for MLflow itself."""

StudentName = Annotated[str, typer.Argument(help="The student's name, as in its config.")]
Which = Annotated[str, typer.Argument(help="Version number or alias: champion, challenger.")]
Uri = Annotated[
    str | None,
    typer.Option("--registry", envvar=REGISTRY_VARIABLE, help=help_of(RegistryPlace, "registry")),
]
Runs = Annotated[Path, typer.Option("--runs-dir", help=help_of(RegistryPlace, "runs_dir"))]
RUNS = RegistryPlace().runs_dir
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object per line.")]


def register_command(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run, such as runs/latest.")],
    uri: Uri = None,
    runs_dir: Runs = RUNS,
) -> None:
    """Register a finished run's student as a new version; one that passed becomes challenger."""
    from pipeline.release.register import register
    from pipeline.release.registry import describe_version, open_registry

    typer.echo(describe_version(register(open_registry(uri, runs_dir), run)))


def list_versions(
    name: Annotated[str | None, typer.Argument(help="Only this student.")] = None,
    as_json: AsJson = False,
    uri: Uri = None,
    runs_dir: Runs = RUNS,
) -> None:
    """List every version with its verdict, quality and aliases."""
    from pipeline.release.marks import brief_verdict
    from pipeline.release.registry import describe_version, open_registry

    registry = open_registry(uri, runs_dir)
    versions = [
        v for each in ([name] if name else registry.names()) for v in registry.versions(each)
    ]
    if as_json:
        for version in versions:
            typer.echo(describe_version(version))
        return
    if not versions:
        typer.echo(f"No student is registered in {registry.uri}.")
        return
    table = Table()
    for column in ("name", "version", "aliases", "verdict", "quality", "agreement", "registered"):
        table.add_column(column)
    for version in versions:
        created = datetime.fromtimestamp(version.created_ms / 1000, UTC)
        table.add_row(
            version.name,
            str(version.number),
            ", ".join(version.aliases),
            brief_verdict(version),
            *_quality(version),
            f"{created:%Y-%m-%d %H:%M} UTC",
        )
    Console().print(table)


def show(
    name: StudentName, which: Which = CHAMPION, uri: Uri = None, runs_dir: Runs = RUNS
) -> None:
    """Print all data of a version, as JSON."""
    from pipeline.release.registry import describe_version, open_registry

    registry = open_registry(uri, runs_dir)
    version = registry.find(name, which)
    facts = json.loads(describe_version(version))
    facts["checks"] = [dataclasses.asdict(check) for check in registry.report(version).checks]
    facts["source"] = version.source
    typer.echo(json.dumps(facts, indent=2, ensure_ascii=False))


def compare_versions_command(
    name: StudentName,
    baseline: Annotated[str, typer.Argument(help="Number or alias of the baseline version.")],
    candidate: Annotated[str, typer.Argument(help="Number or alias of the other version.")],
    as_json: AsJson = False,
    uri: Uri = None,
    runs_dir: Runs = RUNS,
) -> None:
    """Compare two versions on the same test texts, with paired intervals."""
    from pipeline.release.pairing import compare_versions
    from pipeline.release.registry import open_registry

    registry = open_registry(uri, runs_dir)
    old, new = registry.find(name, baseline), registry.find(name, candidate)
    found = compare_versions(registry, old, new)
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(found)))
        return
    table = Table(title=f"{name}: version {new.number} against version {old.number}")
    for column in ("", f"version {old.number}", f"version {new.number}", "change (paired)"):
        table.add_column(column, justify="right")
    for metric in registry.report(new).student.values:
        change = ""
        if found.paired is not None and metric in found.paired.change.values:
            low, high = found.paired.change.intervals[metric]
            change = f"{found.paired.change.values[metric]:+.4f} [{low:+.4f}, {high:+.4f}]"
        table.add_row(metric, old.tags.get(metric, ""), new.tags.get(metric, ""), change)
    Console(width=120).print(table, markup=False)
    if found.paired is not None:
        paired = found.paired
        typer.echo(
            f"{paired.texts} texts; only version {old.number} is better on "
            f"{paired.baseline_better}, only version {new.number} on "
            f"{paired.candidate_better} (sign test, p = {paired.p_value:.3g})"
        )
    else:
        typer.echo(f"They were measured on different test texts, and {found.why_not}.")


@with_options_of(
    PromotionForm,
    name=typer.Argument(),
    version=typer.Argument(metavar="which"),
    registry=typer.Option(envvar=REGISTRY_VARIABLE),
)
def promote_command(form: PromotionForm) -> None:
    """Make a version the champion: gate, digests and golden predictions are checked first."""
    from pipeline.release.promotion import promote as promote_version
    from pipeline.release.registry import open_registry

    promotion = promote_version(
        open_registry(form.registry, form.runs_dir),
        form.name,
        form.version,
        expected_champion=form.expect_champion,
        rule=form,
        force=form.force,
    )
    for check in promotion.checks:
        typer.echo(f"{check.name}: {check.shown_value}, {check.shown_limit}: {check.result}")
    typer.echo(f"champion of {form.name}: version {promotion.champion} (was {promotion.previous})")


@with_options_of(
    RollbackForm, name=typer.Argument(), registry=typer.Option(envvar=REGISTRY_VARIABLE)
)
def rollback(form: RollbackForm) -> None:
    """Return to the champion before this one, and mark this one as bad; servers follow."""
    from pipeline.release.promotion import roll_back
    from pipeline.release.registry import open_registry

    registry = open_registry(form.registry, form.runs_dir)
    promotion = roll_back(registry, form.name, form.reason)
    typer.echo(f"champion of {form.name}: version {promotion.champion} (was {promotion.previous})")


def pull(
    name: StudentName,
    out: Annotated[Path, typer.Option(help="New folder for the bundle.")],
    which: Which = CHAMPION,
    uri: Uri = None,
    runs_dir: Runs = RUNS,
) -> None:
    """Copy a version's bundle, every digest checked."""
    from pipeline.release.bundle import copy_bundle
    from pipeline.release.registry import open_registry

    registry = open_registry(uri, runs_dir)
    version = registry.find(name, which)
    copy_bundle(registry.fetch(version), out, sha256=version.bundle_sha256)
    typer.echo(f"{name} version {version.number}: {out}")


def _quality(version: "Version") -> tuple[str, str]:
    """Return a version's main metric by its name, and its agreement with its teacher."""
    from pipeline.tasks.all_tasks import find_task

    tags = version.tags
    task = find_task(tags.get("task", "classification"))
    metric = task.main_metric
    return f"{metric} {tags.get(metric, '')}", tags.get(task.agreement, "")


COMMANDS: dict[str, Callable[..., None]] = {
    "register": register_command,
    "list": list_versions,
    "show": show,
    "compare": compare_versions_command,
    "promote": promote_command,
    "rollback": rollback,
    "pull": pull,
}
for title, command in COMMANDS.items():
    models.command(title)(patiently(title, command))
