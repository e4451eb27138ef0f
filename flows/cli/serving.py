"""The commands `adapter-distill serve` and `package`."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from pydantic import SecretStr

from flows.cli.models import Runs, Uri
from pipeline.errors import InputError


def serve(
    champions: Annotated[
        list[str] | None, typer.Argument(help="Registered students whose champions are served.")
    ] = None,
    bundles: Annotated[
        list[str] | None,
        typer.Option("--bundle", metavar="NAME=FOLDER", help="A bundle that is served as it is."),
    ] = None,
    host: Annotated[str, typer.Option(help="Address; 0.0.0.0 inside a container.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="REST; 0: a free one.")] = 8080,
    grpc_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="gRPC; off by default.")
    ] = None,
    fd: Annotated[
        int | None, typer.Option(min=0, help="Inherited listening socket instead of a port.")
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="ADAPTER_DISTILL_TOKEN",
            help="API token; in the environment no process list shows it.",
        ),
    ] = None,
    threads: Annotated[int, typer.Option(min=0, help="onnxruntime threads; 0: all cores.")] = 0,
    batching: Annotated[bool, typer.Option(help="Answer waiting requests together.")] = True,
    max_queue: Annotated[int, typer.Option(min=1, help="Texts that may wait, per model.")] = 256,
    deadline_ms: Annotated[float, typer.Option(help="Longest wait of a request.")] = 2000.0,
    max_body: Annotated[int, typer.Option(min=1, help="Largest body, in bytes.")] = 1_048_576,
    max_texts: Annotated[int, typer.Option(min=1, help="Texts per request.")] = 64,
    poll: Annotated[float, typer.Option(help="Seconds between looks at the champion.")] = 5.0,
    drain: Annotated[float, typer.Option(min=0, help="Seconds to leave after SIGTERM.")] = 5.0,
    uri: Uri = None,
    runs_dir: Runs = Path("runs"),
) -> None:
    """Serve champions over the Open Inference Protocol (REST, gRPC), following each promotion."""
    try:
        from pipeline.serving.server import serve as run_server
        from pipeline.serving.settings import ServeSettings
    except ModuleNotFoundError as error:
        raise InputError(
            f"{error.name} is not installed. The server needs pip install 'adapter-distill[serve]'."
        ) from error
    run_server(
        ServeSettings(
            champions=tuple(champions or ()),
            bundles=dict(_read_bundle(each) for each in bundles or ()),
            registry=uri,
            runs_dir=runs_dir,
            host=host,
            http_port=port,
            grpc_port=grpc_port,
            fd=fd,
            token=SecretStr(token) if token else None,
            poll_s=poll,
            threads=threads,
            batching=batching,
            max_queue_texts=max_queue,
            deadline_ms=deadline_ms,
            max_body_bytes=max_body,
            max_texts=max_texts,
            drain_s=drain,
        )
    )


def _read_bundle(option: str) -> tuple[str, Path]:
    name, sign, folder = option.partition("=")
    if not sign or not folder:
        raise InputError(f"--bundle expects NAME=FOLDER, found {option!r}.")
    return name, Path(folder)


def package(
    bundle: Annotated[Path, typer.Argument(help="Student folder, such as runs/latest/student.")],
    platform: Annotated[
        Literal["triton", "kserve", "hub"], typer.Option("--for", help="Whose layout to write.")
    ],
    out: Annotated[Path, typer.Option(help="New folder.")],
    name: Annotated[str, typer.Option(help="Name of the model there.")] = "student",
    storage_uri: Annotated[
        str | None,
        typer.Option(help="Where the cluster will find the folder, for kserve: s3://, pvc://, ..."),
    ] = None,
) -> None:
    """Write a bundle in the layout of Triton, KServe or a model hub."""
    from pipeline.release.package import package as write_package

    write_package(bundle, out, platform, name=name, storage_uri=storage_uri)
    typer.echo(f"{platform}: {out}")
