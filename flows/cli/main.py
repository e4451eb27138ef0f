"""The command line and its commands.

Imports stand inside the commands: prediction must start without torch, help without Prefect.
"""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from flows.cli.adapters import (
    absorb_command,
    export_adapter_command,
    import_adapter_command,
    inspect_command,
)
from flows.cli.backup import backup_command, restore_command
from flows.cli.benchmark import benchmark_command
from flows.cli.compare import compare_command
from flows.cli.faults import run_guarded
from flows.cli.models import models
from flows.cli.new import new_command
from flows.cli.retention import gc_command
from flows.cli.serving import package_command, serve_command
from flows.cli.sweep import sweep_command
from flows.cli.terminal import beside_imports, check_writable, guarded, patiently
from flows.cli.text_input import JSONL_HELP, PAIRS_HELP, read_texts
from flows.up.command import up
from pipeline.chain.stage_names import StageName
from pipeline.errors import InputError
from pipeline.workers.threads import limit_threads

PASSED, REFUSED = 0, 3

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Turn an adapter-tuned transformer into an adapter-free ONNX student, and prove it.",
)


def main() -> None:
    """Run the command line; a fault ends it with one message."""
    limit_threads()
    # The name also where it runs as python -m flows.cli.main.
    run_guarded(partial(app, prog_name="adapter-distill"))


def run(
    config: Annotated[Path, typer.Argument(help="TOML file that says what to run.")],
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Override one setting: teacher.adapter.kind=pfeiffer"
        ),
    ] = None,
    until: Annotated[
        StageName | None,
        typer.Option(help="End with this stage: finetune trains adapters and no student."),
    ] = None,
    verbose: Annotated[bool, typer.Option(help="Show what Prefect and the libraries log.")] = False,
) -> None:
    """Run the whole chain, or a part; finished stages are not run again when nothing changed.

    Exit code 0: the gate passed, or the stage is finished. 3: the gate refused, with every reason.
    2: bad input.
    """
    from pipeline.config.load import load_config

    settings = load_config(config, overrides or [])
    check_writable(settings.runs_dir)
    with beside_imports(verbose=verbose) as wait:
        from flows.chain import adapter_to_student, run_stage
        from flows.cli.summary import print_summary
        from pipeline.report.report import Report

        wait()
        folder = run_stage(settings, until) if until else adapter_to_student(settings)
    terminal = Console()
    if until is not None:
        terminal.print(f"{until}: {folder}", markup=False, soft_wrap=True)
        return
    report = Report.model_validate_json((folder / "report.json").read_text(encoding="utf-8"))
    print_summary(report, folder, terminal if terminal.is_terminal else Console(width=110))
    raise typer.Exit(PASSED if report.verdict == "passed" else REFUSED)


def predict_command(
    bundle: Annotated[Path, typer.Argument(help="Student folder, such as runs/latest/student.")],
    texts: Annotated[
        list[str] | None,
        typer.Argument(help="Texts, one an argument; - reads standard input."),
    ] = None,
    file: Annotated[
        Path | None, typer.Option(help="Text file, one text a line; - reads standard input.")
    ] = None,
    pairs: Annotated[bool, typer.Option("--pairs", help=PAIRS_HELP)] = False,
    jsonl: Annotated[bool, typer.Option("--jsonl", help=JSONL_HELP)] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Print what a student answers to each text, as its task says, with onnxruntime alone."""
    from pipeline.standalone.predict import answer_texts

    wanted = read_texts(texts or [], file, pairs=pairs, jsonl=jsonl)
    found = answer_texts(bundle, wanted)
    for position, (text, answer) in enumerate(zip(wanted, found.answers, strict=True)):
        if as_json:
            named = dict(zip(("text", "text_b"), text, strict=False))
            cut = {"truncated": True} if position in found.truncated else {}
            typer.echo(json.dumps({**named, **answer, **cut}, ensure_ascii=False))
        else:
            typer.echo("\t".join([_in_a_line(answer), *text]))
    if said := found.said():
        typer.echo(said, err=True)


# Any: an answer is whatever its task's schema says.
def _in_a_line(answer: dict[str, Any]) -> str:
    """Return an answer's names and numbers, without its tables."""
    return "\t".join(_shown(value) for value in answer.values() if not isinstance(value, dict))


def _shown(value: object) -> str:
    """Return a part of an answer; of parts with names and numbers, the names alone."""
    if isinstance(value, list):
        return ", ".join(map(_shown, value))
    if isinstance(value, dict):
        return " ".join(each for each in value.values() if isinstance(each, str))
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def show_config(
    config: Annotated[
        Path | None, typer.Argument(help="Print this config with every default filled in.")
    ] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema.")] = False,
) -> None:
    """Print the JSON schema of a config, or check one and print it in full."""
    from pipeline.config import RunConfig
    from pipeline.config.load import load_config

    if schema == (config is not None):
        raise InputError("Give either --schema or the path of a config.")
    if config is not None:
        typer.echo(load_config(config).model_dump_json(indent=2))
    else:
        typer.echo(json.dumps(RunConfig.model_json_schema(), indent=2))


# Those that show their own progress, or run until they are stopped.
SPEAKING: dict[str, Callable[..., None]] = {
    "run": run,
    "compare": compare_command,
    "sweep": sweep_command,
    "serve": serve_command,
    "up": up,
}
QUIET: dict[str, Callable[..., None]] = {
    "new": new_command,
    "predict": predict_command,
    "config": show_config,
    "benchmark": benchmark_command,
    "inspect": inspect_command,
    "absorb": absorb_command,
    "import-adapter": import_adapter_command,
    "export-adapter": export_adapter_command,
    "package": package_command,
    "backup": backup_command,
    "restore": restore_command,
    "gc": gc_command,
}
STARTING_PROCESSES = ("run", "compare", "sweep", "serve", "up", "benchmark")
"""Commands that start processes, of which nothing outlives them."""
COMMANDS = SPEAKING | {name: patiently(name, command) for name, command in QUIET.items()}
for name, command in COMMANDS.items():
    app.command(name)(guarded(command) if name in STARTING_PROCESSES else command)
app.add_typer(models, name="models")


if __name__ == "__main__":
    main()
