"""The command line: its commands, and how errors end it.

Imports stand inside the commands: prediction must start without torch, help without Prefect.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from flows.cli.adapters import absorb_command, export_adapter_command, import_adapter_command
from flows.cli.benchmark import benchmark_command
from flows.cli.compare import compare_command
from flows.cli.models import models
from flows.cli.serving import package_command, serve_command
from flows.cli.sweep import sweep_command
from flows.cli.terminal import beside_imports, check_writable
from flows.cli.text_input import read_texts
from flows.up.command import up
from pipeline.chain.stage_names import StageName
from pipeline.errors import InputError, ProjectError
from pipeline.workers.threads import limit_threads

PASSED, BAD_INPUT, REFUSED = 0, 2, 3

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Turn an adapter-tuned transformer into an adapter-free ONNX student, and prove it.",
)


def main() -> None:
    """Run the command line; bad input and outside faults end with one message and exit 2."""
    limit_threads()
    try:
        app(prog_name="adapter-distill")  # also where it runs as python -m flows.cli.main
    except ProjectError as error:
        _fail(str(error))
    except OSError as error:  # a full disk, a read-only folder
        where = f" ({error.filename})" if error.filename else ""
        _fail(
            f"{error.strerror or error}{where}. Nothing half-written was left in place of a good "
            "result: free the disk or choose another runs_dir, and run again."
        )
    except KeyboardInterrupt:
        _fail("Stopped. Run the same command again to go on from the last checkpoint.", code=130)


@app.command()
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


@app.command("predict")
def predict_command(
    bundle: Annotated[Path, typer.Argument(help="Student folder, such as runs/latest/student.")],
    texts: Annotated[
        list[str] | None,
        typer.Argument(
            help="Texts; a sentence pair is one text with a tab between. - reads stdin."
        ),
    ] = None,
    file: Annotated[
        Path | None, typer.Option(help="Text file, one text a line; - reads standard input.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Print a label and its score, or a number, for each text, with onnxruntime alone."""
    from pipeline.standalone.predict import predict

    wanted = read_texts(texts or [], file)
    for text, answer in zip(wanted, predict(bundle, wanted), strict=True):
        if as_json:
            typer.echo(json.dumps({"text": text, **answer}, ensure_ascii=False))
        else:
            typer.echo(f"{_in_a_line(answer)}\t{text}")


def _in_a_line(answer: dict[str, str | float | dict[str, float]]) -> str:
    """Return an answer's names and numbers, without its tables."""
    shown = [
        value if isinstance(value, str) else f"{value:.4f}"
        for value in answer.values()
        if not isinstance(value, dict)
    ]
    return "\t".join(shown)


@app.command("config")
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


def _fail(message: str, *, code: int = BAD_INPUT) -> None:
    Console(stderr=True, soft_wrap=True).print(f"[bold red]error:[/] {_escape(message)}")
    sys.exit(code)


def _escape(text: str) -> str:
    """Keep rich from reading the message's own square brackets as markup."""
    from rich.markup import escape

    return escape(text)


COMMANDS: dict[str, Callable[..., None]] = {
    "up": up,
    "benchmark": benchmark_command,
    "compare": compare_command,
    "sweep": sweep_command,
    "absorb": absorb_command,
    "import-adapter": import_adapter_command,
    "export-adapter": export_adapter_command,
    "serve": serve_command,
    "package": package_command,
}
for name, command in COMMANDS.items():
    app.command(name)(command)
app.add_typer(models, name="models")


if __name__ == "__main__":
    main()
