"""The commands for students without a run: inspect, absorb, distill and export.

Imports stand inside the commands: help must start without torch.
"""

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from flows.cli.terminal import prepare_environment, prepare_terminal
from flows.cli.text_input import JSONL_HELP, PAIRS_HELP, read_texts
from pipeline.errors import InputError

_Teacher = Annotated[Path, typer.Argument(help="Teacher folder, such as runs/latest/finetune.")]
_Texts = Annotated[
    Path, typer.Option(help="Unlabelled texts, one per line; - reads standard input.")
]
_Out = Annotated[Path, typer.Option(help="New folder for the student.")]
_Backbone = Annotated[
    str | None, typer.Option(help="New path of the teacher's backbone, if it has moved.")
]
_Pairs = Annotated[bool, typer.Option("--pairs", help=PAIRS_HELP)]
_Jsonl = Annotated[bool, typer.Option("--jsonl", help=JSONL_HELP)]
_Verbose = Annotated[bool, typer.Option(help="Show logs of the libraries.")]


def absorb_command(
    teacher: _Teacher,
    texts: _Texts,
    out: _Out,
    backbone: _Backbone = None,
    layers: Annotated[
        str | None, typer.Option(help="Layers that the student keeps, from 0: 0,2,4.")
    ] = None,
    extra_units: Annotated[
        int,
        typer.Option(min=0, max=65536, help="Number of extra units in every FFN of the student."),
    ] = 0,
    exact: Annotated[
        Literal["never", "free", "always"],
        typer.Option(help="Fold exactly: never, only if free (no wider FFN), or always."),
    ] = "free",
    as_: Annotated[
        Literal["model", "lora"],
        typer.Option("--as", help="Write a model of its own, or PEFT's LoRA for the backbone."),
    ] = "model",
    rank: Annotated[int, typer.Option(min=1, max=65536, help="Rank of each matrix's LoRA.")] = 64,
    pairs: _Pairs = False,
    jsonl: _Jsonl = False,
    verbose: _Verbose = False,
) -> None:
    """Move a teacher's adapters into its backbone's weights: no labels, no training."""
    kept = None if layers is None else _read_layers(layers)
    if as_ == "lora" and (kept is not None or extra_units):
        raise InputError(
            "--as lora keeps the backbone as it is: expected neither --layers nor --extra-units. "
            "Leave them out, or leave out --as lora."
        )
    wanted = read_texts([], texts, pairs=pairs, jsonl=jsonl)
    prepare_environment(verbose=verbose)
    prepare_terminal(verbose=verbose)
    from adapter_distill import absorb, load_teacher
    from flows.cli.summary import print_absorption

    student = absorb(
        load_teacher(teacher, backbone=backbone),
        wanted,
        out=out,
        layers=kept,
        exact=exact,
        extra_units=extra_units,
        lora_rank=rank if as_ == "lora" else None,
    )
    if student.absorbed is not None:
        print_absorption(student.absorbed, out, Console())
    if as_ == "model":
        _print_next(f"adapter-distill export {out} --out BUNDLE")


def inspect_command(
    teacher: _Teacher,
    texts: Annotated[
        Path | None,
        typer.Option(help="Unlabelled texts for a trial, one per line; - reads standard input."),
    ] = None,
    backbone: _Backbone = None,
    pairs: _Pairs = False,
    jsonl: _Jsonl = False,
    verbose: _Verbose = False,
) -> None:
    """Show how well a teacher's adapters will be absorbed, before anything is trained."""
    given = [] if texts is None else read_texts([], texts, pairs=pairs, jsonl=jsonl)
    prepare_environment(verbose=verbose)
    prepare_terminal(verbose=verbose)
    from flows.cli.summary import print_inspection
    from pipeline.standalone.inspect_teacher import inspect_teacher

    print_inspection(inspect_teacher(teacher, given, backbone=backbone), Console())


def distill_command(
    student: Annotated[Path, typer.Argument(help="Folder that `absorb` wrote.")],
    teacher: Annotated[Path, typer.Option(help="Folder of its teacher.")],
    texts: _Texts,
    out: _Out,
    epochs: Annotated[float, typer.Option(min=0, max=1000, help="Passes over the texts.")] = 3.0,
    learning_rate: Annotated[float, typer.Option(min=0, max=1, help="Peak learning rate.")] = 1e-5,
    backbone: _Backbone = None,
    pairs: _Pairs = False,
    jsonl: _Jsonl = False,
    verbose: _Verbose = False,
) -> None:
    """Train an absorbed student towards its teacher; keep the result only if it is closer."""
    wanted = read_texts([], texts, pairs=pairs, jsonl=jsonl)
    prepare_environment(verbose=verbose)
    prepare_terminal(verbose=verbose)
    from adapter_distill import Student, distill, load_teacher
    from pipeline.config import DistillConfig
    from pipeline.report.headline import spaced

    if not epochs > 0 or not learning_rate > 0:
        raise InputError("--epochs and --learning-rate expect numbers above 0.")
    distilled = distill(
        Student(folder=student, fidelity={}),
        load_teacher(teacher, backbone=backbone),
        wanted,
        out=out,
        config=DistillConfig(epochs=epochs, learning_rate=learning_rate),
    )
    for name, value in distilled.fidelity.items():
        typer.echo(f"held-out {spaced(name)}: {value:.5g}")
    typer.echo(f"student: {out}")
    _print_next(f"adapter-distill export {out} --out BUNDLE")


def export_command(
    model: Annotated[Path, typer.Argument(help="Folder of a student or a teacher.")],
    out: Annotated[Path, typer.Option(help="New folder for the bundle.")],
    backbone: _Backbone = None,
    verbose: _Verbose = False,
) -> None:
    """Write a model as an ONNX bundle that predict, serve and benchmark read."""
    prepare_environment(verbose=verbose)
    prepare_terminal(verbose=verbose)
    from adapter_distill import export

    export(model, out=out, backbone=backbone)
    typer.echo(f"bundle: {out}")
    _print_next(f'adapter-distill predict {out} "a text"')


def _print_next(command: str) -> None:
    Console(soft_wrap=True).print(f"next: {command}", markup=False)


def _read_layers(layers: str) -> tuple[int, ...]:
    try:
        return tuple(int(number) for number in layers.split(","))
    except ValueError as error:
        raise InputError(f"--layers expects numbers such as 0,2,4, found {layers!r}.") from error
