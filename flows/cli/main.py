"""The command line and its commands.

Imports stand inside the commands: prediction must start without torch, help without Prefect.
"""

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console

from flows.cli.adapters import export_adapter_command, import_adapter_command
from flows.cli.backup import backup_command, restore_command
from flows.cli.benchmark import benchmark_command
from flows.cli.compare import compare_command
from flows.cli.faults import run_guarded
from flows.cli.models import models
from flows.cli.new import new_command
from flows.cli.pools import pools
from flows.cli.retention import gc_command
from flows.cli.serving import package_command, serve_command
from flows.cli.students import (
    absorb_command,
    distill_command,
    export_command,
    inspect_command,
)
from flows.cli.sweep import sweep_command
from flows.cli.terminal import (
    beside_imports,
    check_writable,
    guarded,
    patiently,
    prepare_environment,
    prepare_terminal,
    starting,
)
from flows.cli.text_input import JSONL_HELP, PAIRS_HELP, read_texts
from flows.up.command import up
from pipeline.chain.stage_names import StageName
from pipeline.errors import InputError
from pipeline.workers.importing import without_collection
from pipeline.workers.threads import limit_threads

if TYPE_CHECKING:
    from pipeline.config import RunConfig

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
    config: Annotated[Path, typer.Argument(help="TOML file of the run.")],
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Override one setting: teacher.adapter.kind=pfeiffer"
        ),
    ] = None,
    until: Annotated[
        StageName | None,
        typer.Option(help="End after this stage; finetune ends with a trained teacher."),
    ] = None,
    without_prefect: Annotated[
        bool,
        typer.Option("--without-prefect", help="Start seconds sooner, without a page in the UI."),
    ] = False,
    verbose: Annotated[bool, typer.Option(help="Show logs of Prefect and the libraries.")] = False,
) -> None:
    """Run the whole chain, or a part; finished stages are not run again when nothing changed.

    Exit code 0 means that the gate passed, or that the stage is finished. Exit code 3 means that
    the gate refused; every reason is printed. Exit code 2 means bad input.
    """
    from pipeline.config.load import load_config

    if without_prefect and until:
        raise InputError("Give --until or --without-prefect, not both.")
    settings = load_config(config, overrides or [])
    check_writable(settings.runs_dir)
    if without_prefect:
        _end(_run_here(settings, verbose=verbose))
    with beside_imports(verbose=verbose) as wait:
        from flows.chain import adapter_to_student, run_stage

        wait()
        folder = run_stage(settings, until) if until else adapter_to_student(settings)
    if until is None:
        _end(folder)
    Console().print(f"{until}: {folder}", markup=False, soft_wrap=True)


def _run_here(settings: "RunConfig", *, verbose: bool) -> Path:
    """Run the chain in this process; return the run's folder."""
    prepare_environment(verbose=verbose)
    with starting(title="run"):
        with without_collection():
            prepare_terminal(verbose=verbose)
            from adapter_distill import run as run_here
        return run_here(settings).folder


def _end(folder: Path) -> NoReturn:
    """Print what a finished run found, and end with the exit code of its verdict."""
    from flows.cli.summary import print_summary
    from pipeline.report.report import Report

    report = Report.model_validate_json((folder / "report.json").read_text(encoding="utf-8"))
    terminal = Console()
    print_summary(report, folder, terminal if terminal.is_terminal else Console(width=110))
    raise typer.Exit(PASSED if report.verdict == "passed" else REFUSED)


def predict_command(
    bundle: Annotated[Path, typer.Argument(help="Student folder, such as runs/latest/student.")],
    texts: Annotated[
        list[str] | None,
        typer.Argument(help="Texts, one per argument; - reads standard input."),
    ] = None,
    file: Annotated[
        Path | None, typer.Option(help="Text file, one text per line; - reads standard input.")
    ] = None,
    pairs: Annotated[bool, typer.Option("--pairs", help=PAIRS_HELP)] = False,
    jsonl: Annotated[bool, typer.Option("--jsonl", help=JSONL_HELP)] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per line.")] = False,
    max_tokens: Annotated[
        int | None,
        typer.Option(min=1, help="Language models only; longest completion [default: 64]."),
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option(
            min=0, max=100, help="Language models only; 0 takes the likeliest token [default: 0]."
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Language models only; seed of the random draws.")
    ] = None,
) -> None:
    """Print a student's answer to each text; needs onnxruntime, and no torch."""
    from adapter_distill import load
    from flows.cli.completions import print_completions

    wanted = read_texts(texts or [], file, pairs=pairs, jsonl=jsonl)
    student = load(bundle)
    if student.classifier.writer is not None:
        print_completions(
            student,
            wanted,
            tokens=max_tokens,
            temperature=temperature,
            seed=seed,
            as_json=as_json,
        )
        return
    found = student.answer(wanted, tokens=max_tokens, temperature=temperature, seed=seed)
    for position, (text, answer) in enumerate(zip(wanted, found.answers, strict=True)):
        named = dict(zip(("text", "text_b"), text, strict=False))
        if as_json:
            cut = {"truncated": True} if position in found.truncated else {}
            typer.echo(json.dumps({**named, **answer, **cut}, ensure_ascii=False))
        else:
            typer.echo(_in_a_line({**answer, **named}, student.classifier.task.words.line))
    if said := found.said():
        typer.echo(said, err=True)


# Any: an answer is whatever its task's schema says.
def _in_a_line(answer: dict[str, Any], parts: Sequence[str]) -> str:
    """Return the names and numbers of an answer and its texts, without tables; no parts: all."""
    if "answer" in parts:
        answer = {**answer, "answer": answer["answer"] or "(no answer)"}
    shown = [answer[name] for name in parts] if parts else answer.values()
    return "\t".join(_shown(value) for value in shown if not isinstance(value, dict))


def _shown(value: object) -> str:
    """Return a part of an answer as text; of names with numbers, only the names."""
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


# Commands that show their own progress, or run until they are stopped.
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
    "distill": distill_command,
    "export": export_command,
    "import-adapter": import_adapter_command,
    "export-adapter": export_adapter_command,
    "package": package_command,
    "backup": backup_command,
    "restore": restore_command,
    "gc": gc_command,
}
STARTING_PROCESSES = ("run", "compare", "sweep", "serve", "up", "benchmark")
"""Commands that start processes; no process outlives its command."""
COMMANDS = SPEAKING | {name: patiently(name, command) for name, command in QUIET.items()}
for name, command in COMMANDS.items():
    app.command(name)(guarded(command) if name in STARTING_PROCESSES else command)
app.add_typer(models, name="models")
app.add_typer(pools, name="pools")


if __name__ == "__main__":
    main()
