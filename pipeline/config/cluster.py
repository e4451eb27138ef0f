"""Machines that share one stage."""

from typing import Literal

from pydantic import Field

from pipeline.config.section import Section


class ClusterConfig(Section):
    """Shards of the soft targets, and the cluster that computes them."""

    shards: int = Field(default=1, ge=1, le=10_000)
    """Shards of the texts, each a stage of its own. A lost worker costs its shard alone."""

    runner: Literal["none", "ray", "dask"] = "none"
    """Cluster that builds the shards: ``ray`` or ``dask``, each with the extra of that name. With
    ``none``, they are built here, one after another."""

    address: str | None = Field(default=None, min_length=1)
    """Address of the cluster, such as ``ray://head:10001`` or ``tcp://scheduler:8786``. Its workers
    need the same runs_dir or shared_stages. Without one, a cluster of this machine is started."""

    workers: int = Field(default=2, ge=1, le=1024)
    """Workers of a cluster that is started here."""
