"""The commands of `adapter-distill pools`: places where other stages are built."""

from typing import Annotated, Literal

import typer

from pipeline.errors import InputError

pools = typer.Typer(
    no_args_is_help=True,
    help="Work pools on other machines, for the config's table `pools`.",
)


@pools.callback()
def _group() -> None:
    """Keep `create` a command of its own, though it is the only one."""


@pools.command("create")
def create_command(
    name: Annotated[str, typer.Argument(help="Name of the new pool, such as gpu.")],
    kind: Annotated[
        Literal["process", "docker", "kubernetes"],
        typer.Option("--type", help="Where its runs execute: in a process, a container or a job."),
    ] = "process",
    image: Annotated[
        str | None, typer.Option(help="Image of the project, built with --target train.")
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(help="Shared disk for runs_dir: Docker's folder or volume, or a claim."),
    ] = None,
    gpus: Annotated[int, typer.Option(min=0, help="GPUs of each Kubernetes job.")] = 0,
    namespace: Annotated[str, typer.Option(help="Namespace on Kubernetes.")] = "default",
) -> None:
    """Create a work pool on the Prefect server at PREFECT_API_URL, with a template for its jobs."""
    from flows.cli.prefect_server import prepare_server, server_url
    from flows.pool_templates import PoolForm, create_pool, worker_command

    if not server_url():
        raise InputError(
            "PREFECT_API_URL is not set. Set it to the address that `adapter-distill up` prints."
        )
    prepare_server()
    form = PoolForm(kind=kind, image=image, storage=storage, gpus=gpus, namespace=namespace)
    create_pool(name, form)
    typer.echo(f"work pool: {name}")
    typer.echo(f"next, on a machine that shares runs_dir: {worker_command(name, form)}")
