"""The commands for adapters without a run: absorb them, read and write AdapterHub's folders.

Imports stand inside the commands: help must start without torch.
"""

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from flows.cli.terminal import prepare_environment, prepare_terminal
from flows.cli.text_input import JSONL_HELP, PAIRS_HELP, read_texts
from pipeline.errors import InputError


def absorb_command(
    teacher: Annotated[Path, typer.Argument(help="Teacher folder, such as runs/latest/finetune.")],
    texts: Annotated[
        Path,
        typer.Option(help="Unlabelled texts, one a line; - reads standard input."),
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
    as_: Annotated[
        Literal["model", "lora"],
        typer.Option("--as", help="Write a model of its own, or PEFT's LoRA for the backbone."),
    ] = "model",
    rank: Annotated[int, typer.Option(min=1, help="Rank of each matrix's LoRA.")] = 64,
    pairs: Annotated[bool, typer.Option("--pairs", help=PAIRS_HELP)] = False,
    jsonl: Annotated[bool, typer.Option("--jsonl", help=JSONL_HELP)] = False,
    verbose: Annotated[bool, typer.Option(help="Show what the libraries log.")] = False,
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
    from flows.cli.summary import print_absorption
    from pipeline.config import AbsorbConfig
    from pipeline.standalone.absorb import absorb_alone, absorb_as_lora

    config = AbsorbConfig(texts=max(8, len(wanted)), exact=exact, extra_units=extra_units)
    if as_ == "lora":
        facts = absorb_as_lora(teacher, wanted, out, config, rank=rank, backbone=backbone)
    else:
        facts = absorb_alone(teacher, wanted, out, config, backbone=backbone, layers=kept)
    print_absorption(facts, out, Console())


def inspect_command(
    teacher: Annotated[Path, typer.Argument(help="Teacher folder, such as runs/latest/finetune.")],
    texts: Annotated[
        Path | None,
        typer.Option(help="Unlabelled texts for a trial, one a line; - reads standard input."),
    ] = None,
    backbone: Annotated[
        str | None, typer.Option(help="The teacher's backbone, where it moved since.")
    ] = None,
    pairs: Annotated[bool, typer.Option("--pairs", help=PAIRS_HELP)] = False,
    jsonl: Annotated[bool, typer.Option("--jsonl", help=JSONL_HELP)] = False,
    verbose: Annotated[bool, typer.Option(help="Show what the libraries log.")] = False,
) -> None:
    """Say how well a teacher's adapters will be absorbed, before anything is trained."""
    given = [] if texts is None else read_texts([], texts, pairs=pairs, jsonl=jsonl)
    prepare_environment(verbose=verbose)
    prepare_terminal(verbose=verbose)
    from flows.cli.summary import print_inspection
    from pipeline.standalone.inspect_teacher import inspect_teacher

    print_inspection(inspect_teacher(teacher, given, backbone=backbone), Console())


def import_adapter_command(
    folders: Annotated[
        list[str],
        typer.Argument(
            help="Folders that the adapters library saved, or their hub ids, or teachers' folders, "
            "one an adapter; or one with adapter_setup.json."
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
    drop_layers: Annotated[
        int, typer.Option(min=0, help="Leave out the adapters of the first so many layers.")
    ] = 0,
    max_length: Annotated[
        int | None,
        typer.Option(min=4, help="Longest input, in tokens; 128 where the backbone takes as many."),
    ] = None,
    verbose: Annotated[bool, typer.Option(help="Show what the libraries log.")] = False,
) -> None:
    """Make a teacher of AdapterHub checkpoints: adapters, head and AdapterFusion."""
    prepare_environment(verbose=verbose)
    prepare_terminal(verbose=verbose)
    from pipeline.checkpoints.pretrained import find_adapter_folder
    from pipeline.standalone.import_adapter import import_adapter as import_them

    teacher = import_them(
        [find_adapter_folder(folder) for folder in folders],
        out,
        backbone=backbone,
        fusion=fusion,
        together=together,
        drop_layers=drop_layers,
        max_length=max_length,
    )
    console = Console(soft_wrap=True)
    console.print(f"labels: {', '.join(teacher.labels)}", markup=False)
    console.print(f"teacher: {out}", markup=False)
    console.print(f"next: adapter-distill absorb {out} --texts FILE --out STUDENT", markup=False)


def export_adapter_command(
    teacher: Annotated[
        Path,
        typer.Argument(help="Teacher folder, such as runs/latest/finetune, or an imported one."),
    ],
    out: Annotated[Path, typer.Option(help="New folder for the AdapterHub checkpoint.")],
    name: Annotated[
        str | None, typer.Option(help="Name of the adapter; the one that it has by default.")
    ] = None,
    backbone: Annotated[
        str | None, typer.Option(help="The teacher's backbone, where it moved since.")
    ] = None,
    verbose: Annotated[bool, typer.Option(help="Show what the libraries log.")] = False,
) -> None:
    """Write a teacher's adapters and head as the adapters library reads them (AdapterHub)."""
    prepare_environment(verbose=verbose)
    prepare_terminal(verbose=verbose)
    from pipeline.standalone.export_adapter import export_adapter as export_it

    composition = export_it(teacher, out, backbone=backbone, name=name)
    console = Console(soft_wrap=True)
    console.print(f"adapter: {out}", markup=False)
    method = "load_adapter" if isinstance(composition, str) else "load_adapter_setup"
    console.print(
        f'next, with the adapters library: model.{method}("{out}", set_active=True)', markup=False
    )


def _read_layers(layers: str) -> tuple[int, ...]:
    try:
        return tuple(int(number) for number in layers.split(","))
    except ValueError as error:
        raise InputError(f"--layers expects numbers such as 0,2,4, found {layers!r}.") from error
