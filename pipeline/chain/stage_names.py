"""The stages of the chain, by name; without Prefect, for the command line's help."""

from typing import Literal

STAGES = ".stages"
"""Folder of finished stages, inside ``runs_dir``."""
PUBLISH_LOCK = ".publish.lock"
"""File in ``runs_dir`` that is locked while a run's folder is written."""

StageName = Literal[
    "data",
    "head-only",
    "finetune",
    "import",
    "fuse",
    "unlabelled",
    "absorb",
    "soft-targets",
    "distill",
    "export",
    "quantize",
    "evaluate",
    "benchmark",
]
"""In their order. A run has one of finetune, import and fuse."""
