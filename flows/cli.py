"""The command line: from a run to its release; the commands that need little stand here.

Imports stand inside the commands: prediction must start without torch, help without Prefect.
"""

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from flows.benchmark_command import benchmark
from flows.cli_models import models
from flows.cli_serve import package, serve
from flows.compare_command import compare
from flows.terminal import prepare_environment, prepare_terminal, start_server
from flows.up import up
from pipeline.build_process import BuildKilledError
from pipeline.errors import InputError

PASSED, BAD_INPUT, REFUSED = 0, 2, 3

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Turn an adapter-tuned transformer into an adapter-free ONNX student, and prove it.",
)
app.add_typer(models, name="models")
app.command("serve")(serve)
app.command("package")(package)

app.command()(up)
app.command()(compare)
app.command()(benchmark)


def main() -> None:
    """Run the command line; bad input and outside faults end with one message and exit 2."""
    try:
        app()
    except (InputError, BuildKilledError) as error:
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
    verbose: Annotated[bool, typer.Option(help="Show what Prefect and the libraries log.")] = False,
) -> None:
    """Run the whole chain; finished stages are not run again when nothing changed.

    Exit code 0: the gate passed. 3: the gate refused, with every reason. 2: bad input.
    """
    from pipeline.config_file import load_config

    settings = load_config(config, overrides or [])
    _check_writable(settings.runs_dir)
    prepare_environment(verbose=verbose)
    starting = start_server()
    prepare_terminal(verbose=verbose)
    from flows.chain import adapter_to_student
    from flows.summary import print_summary
    from pipeline.reporting.report import Report

    starting.join()
    folder = adapter_to_student(settings)
    report = Report.model_validate_json((folder / "report.json").read_text(encoding="utf-8"))
    terminal = Console()
    print_summary(report, folder, terminal if terminal.is_terminal else Console(width=110))
    raise typer.Exit(PASSED if report.verdict == "passed" else REFUSED)


@app.command()
def predict(
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
    """Print the label and its score for each text, with onnxruntime alone."""
    from pipeline.predict import predict as predict_labels

    wanted = _read_texts(texts or [], file)
    for text, prediction in zip(wanted, predict_labels(bundle, wanted), strict=True):
        if as_json:
            typer.echo(json.dumps({"text": text, **prediction}, ensure_ascii=False))
        else:
            typer.echo(f"{prediction['label']}\t{prediction['score']:.4f}\t{text}")


@app.command()
def absorb(
    teacher: Annotated[Path, typer.Argument(help="Teacher folder, such as runs/latest/finetune.")],
    texts: Annotated[
        Path,
        typer.Option(
            help="Unlabelled texts, one a line, a tab in a sentence pair; - reads standard input."
        ),
    ],
    out: Annotated[Path, typer.Option(help="New folder for the student.")],
    backbone: Annotated[
        str | None, typer.Option(help="The teacher's backbone, where it moved since.")
    ] = None,
    layers: Annotated[
        str | None, typer.Option(help="Layers that the student keeps, from 0: 0,2,4.")
    ] = None,
    extra_units: Annotated[
        int, typer.Option(min=0, help="Units by which every FFN of the student is wider.")
    ] = 0,
    exact: Annotated[
        Literal["never", "free", "always"],
        typer.Option(help="Fold exactly where possible; free: and needs no wider FFN."),
    ] = "free",
    verbose: Annotated[bool, typer.Option(help="Show what the libraries log.")] = False,
) -> None:
    """Move a teacher's adapters into its backbone's weights: no labels, no training."""
    wanted = _read_texts([], texts)
    prepare_environment(verbose=verbose)
    prepare_terminal(verbose=verbose)
    from flows.summary import print_absorption
    from pipeline.absorb_alone import absorb_alone
    from pipeline.config import AbsorbConfig

    facts = absorb_alone(
        teacher,
        [tuple(text.split("\t", 1)) for text in wanted],
        out,
        AbsorbConfig(texts=max(8, len(wanted)), exact=exact, extra_units=extra_units),
        backbone=backbone,
        layers=None if layers is None else _read_layers(layers),
    )
    print_absorption(facts, out, Console())


@app.command("import-adapter")
def import_adapter(
    folders: Annotated[
        list[str],
        typer.Argument(
            help="Folders that the adapters library saved, or their hub ids, one an adapter; or "
            "one with adapter_setup.json."
        ),
    ],
    backbone: Annotated[
        str, typer.Option(help="Hub id or path of the model that they were trained in.")
    ],
    out: Annotated[Path, typer.Option(help="New folder for the teacher.")],
    fusion: Annotated[
        Path | None, typer.Option(help="Folder of the AdapterFusion over several adapters.")
    ] = None,
    together: Annotated[
        Literal["stack", "average"] | None,
        typer.Option(help="How several adapters work together without AdapterFusion."),
    ] = None,
    max_length: Annotated[
        int | None,
        typer.Option(min=4, help="Longest input, in tokens; 128 where the backbone takes as many."),
    ] = None,
    verbose: Annotated[bool, typer.Option(help="Show what the libraries log.")] = False,
) -> None:
    """Make a teacher of AdapterHub checkpoints: adapters, head and AdapterFusion."""
    prepare_environment(verbose=verbose)
    prepare_terminal(verbose=verbose)
    from pipeline.checkpoints import find_adapter_folder
    from pipeline.import_adapter import import_adapter as import_them

    teacher = import_them(
        [find_adapter_folder(folder) for folder in folders],
        out,
        backbone=backbone,
        fusion=fusion,
        together=together,
        max_length=max_length,
    )
    console = Console(soft_wrap=True)
    console.print(f"labels: {', '.join(teacher.labels)}", markup=False)
    console.print(f"teacher: {out}", markup=False)
    console.print(f"next: adapter-distill absorb {out} --texts FILE --out STUDENT", markup=False)


@app.command("export-adapter")
def export_adapter(
    teacher: Annotated[
        Path,
        typer.Argument(help="Teacher folder, such as runs/latest/finetune, or an imported one."),
    ],
    out: Annotated[Path, typer.Option(help="New folder for the AdapterHub checkpoint.")],
    backbone: Annotated[
        str | None, typer.Option(help="The teacher's backbone, where it moved since.")
    ] = None,
    verbose: Annotated[bool, typer.Option(help="Show what the libraries log.")] = False,
) -> None:
    """Write a teacher's adapters and head as the adapters library reads them (AdapterHub)."""
    prepare_environment(verbose=verbose)
    prepare_terminal(verbose=verbose)
    from pipeline.export_adapter import export_adapter as export_it

    composition = export_it(teacher, out, backbone=backbone)
    console = Console(soft_wrap=True)
    console.print(f"adapter: {out}", markup=False)
    method = "load_adapter" if isinstance(composition, str) else "load_adapter_setup"
    console.print(
        f'next, with the adapters library: model.{method}("{out}", set_active=True)', markup=False
    )


@app.command("config")
def show_config(
    config: Annotated[
        Path | None, typer.Argument(help="Print this config with every default filled in.")
    ] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema.")] = False,
) -> None:
    """Print the JSON schema of a config, or check one and print it in full."""
    from pipeline.config import RunConfig
    from pipeline.config_file import load_config

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


def _read_texts(texts: list[str], file: Path | None) -> list[str]:
    """Return the texts of the arguments and of the file, of standard input for ``-``."""
    lines: list[str] = []
    for text in texts:
        lines += _lines(sys.stdin.buffer.read(), "standard input") if text == "-" else [text]
    if file is not None:
        stdin = str(file) == "-"
        try:
            data = sys.stdin.buffer.read() if stdin else file.read_bytes()
        except OSError as error:
            raise InputError(
                f"Cannot read {file}: {error.strerror}. Give a text file, one text a line."
            ) from error
        lines += _lines(data, "standard input" if stdin else str(file))
    if not lines:
        raise InputError("No texts. Give them as arguments, with --file, or - for standard input.")
    return lines


def _lines(data: bytes, origin: str) -> list[str]:
    try:
        return [line for line in data.decode("utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise InputError(f"{origin} is not UTF-8 text: {error}. Convert it.") from error


def _read_layers(layers: str) -> tuple[int, ...]:
    try:
        return tuple(int(number) for number in layers.split(","))
    except ValueError as error:
        raise InputError(f"--layers expects numbers such as 0,2,4, found {layers!r}.") from error


def _check_writable(folder: Path) -> None:
    """Create the runs folder, and fail before any work where it cannot be written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(
            f"Cannot write to runs_dir {folder}: {error.strerror}. Give a folder that can be "
            "written to, with --set runs_dir=PATH."
        ) from error


if __name__ == "__main__":
    main()
