"""The commands `adapter-distill serve` and `package`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from flows.cli.models import REGISTRY_VARIABLE
from flows.cli.options import with_options_of
from pipeline.config.provider import Provider
from pipeline.errors import InputError
from pipeline.serving.settings import ServeSettings


@with_options_of(
    ServeSettings,
    champions=typer.Argument(),
    bundles=typer.Option("--bundle", metavar="NAME=FOLDER"),
    http_port=typer.Option("--port"),
    token=typer.Option(envvar="ADAPTER_DISTILL_TOKEN"),
    max_queue_texts=typer.Option("--max-queue"),
    max_body_bytes=typer.Option("--max-body"),
    poll_s=typer.Option("--poll"),
    drain_s=typer.Option("--drain"),
    registry=typer.Option(envvar=REGISTRY_VARIABLE),
)
def serve_command(settings: ServeSettings) -> None:
    """Serve champions over the Open Inference Protocol (REST, gRPC), following each promotion."""
    try:
        from pipeline.serving.server import serve as run_server
    except ModuleNotFoundError as error:
        raise InputError(
            f"{error.name} is not installed. The server needs pip install 'adapter-distill[serve]'."
        ) from error
    run_server(settings)


def package_command(
    bundle: Annotated[Path, typer.Argument(help="Student folder, such as runs/latest/student.")],
    platform: Annotated[
        Literal["triton", "kserve", "hub"], typer.Option("--for", help="Whose layout to write.")
    ],
    out: Annotated[Path, typer.Option(help="New folder.")],
    name: Annotated[str, typer.Option(help="Name of the model on the server.")] = "student",
    storage_uri: Annotated[
        str | None,
        typer.Option(help="Address of the folder for the cluster (kserve): s3://, pvc://, ..."),
    ] = None,
    provider: Annotated[
        Provider, typer.Option(help="Execution provider of the model on the server.")
    ] = "cpu",
) -> None:
    """Write a bundle in the layout of Triton, KServe or a model hub."""
    from pipeline.release.package import package as write_package

    write_package(bundle, out, platform, name=name, storage_uri=storage_uri, provider=provider)
    typer.echo(f"{platform}: {out}")
