"""The stages of the chain, by name; without Prefect, for the command line's help."""

from typing import Literal

StageName = Literal[
    "data",
    "head-only",
    "finetune",
    "import",
    "fuse",
    "absorb",
    "soft-targets",
    "distill",
    "export",
    "quantize",
    "evaluate",
    "benchmark",
]
"""In their order. A run has one of finetune, import and fuse."""
