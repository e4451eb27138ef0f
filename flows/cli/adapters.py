"""The commands that read and write AdapterHub's folders.

Imports stand inside the commands: help must start without torch.
"""

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from flows.cli.terminal import prepare_environment, prepare_terminal


def import_adapter_command(
    folders: Annotated[
        list[str],
        typer.Argument(
            help="Folder or hub id of each adapter, AdapterHub's or a teacher's; or one folder "
            "with adapter_setup.json."
        ),
    ],
    backbone: Annotated[
        str, typer.Option(help="Hub id or path of the backbone of these adapters.")
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
        int,
        typer.Option(min=0, max=1000, help="Number of lowest layers to leave without adapters."),
    ] = 0,
    max_length: Annotated[
        int | None,
        typer.Option(
            min=4,
            max=1_000_000,
            help="Longest input, in tokens [default: 128, or the backbone's limit if lower].",
        ),
    ] = None,
    verbose: Annotated[bool, typer.Option(help="Show logs of the libraries.")] = False,
) -> None:
    """Make a teacher of AdapterHub checkpoints: adapters, head and AdapterFusion."""
    prepare_environment(verbose=verbose)
    prepare_terminal(verbose=verbose)
    from pipeline.standalone.import_adapter import import_adapter as import_them

    teacher = import_them(
        folders,
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
        str | None, typer.Option(help="Name of the written adapter [default: its own].")
    ] = None,
    backbone: Annotated[
        str | None, typer.Option(help="New path of the teacher's backbone, if it has moved.")
    ] = None,
    verbose: Annotated[bool, typer.Option(help="Show logs of the libraries.")] = False,
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
