"""Builds for child processes, in a module that imports nothing that takes time."""

import logging
import os
import sys
import time
from pathlib import Path

from pipeline.errors import InputError


def write_pid(folder: Path) -> int:
    """Write and return the child's process id; log a line."""
    logging.getLogger("pipeline.somewhere").info("at %s", "work")
    (folder / "pid").write_text(str(os.getpid()))
    return os.getpid()


def start_grandchild(_: Path) -> None:
    """Leave a process behind, and fail."""
    if os.fork() == 0:
        time.sleep(600)
    raise InputError("bad input")


def hang(_: Path) -> None:
    """Never end."""
    time.sleep(600)


def loaded_module(_: Path, *, name: str) -> bool:
    """Return whether the child has imported a module."""
    return name in sys.modules
