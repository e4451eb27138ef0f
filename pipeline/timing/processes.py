"""Measuring processes, from their parent's side.

Each runs a module of ours with one thread; what it says when it fails is passed on.
"""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from types import TracebackType
from typing import TYPE_CHECKING, Self

from pipeline.facts.latency import FileCost
from pipeline.timing.blocks import Block
from pipeline.workers.threads import thread_variables

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

LARGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
"""Transparent huge pages for the heap: fewer page walks, and a third of the noise."""


class Worker:
    """A measuring process that makes a block when it is asked; a context manager ends it."""

    def __init__(
        self,
        module: str,
        specification: "DataclassInstance",
        environment: dict[str, str] | None = None,
    ) -> None:
        self._module = module
        # A file, because a pipe that nobody reads would block a talkative process.
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed in __exit__
        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=os.environ | thread_variables(1) | (environment or {}),
        )
        self._send(json.dumps(asdict(specification)))

    def block(self) -> Block:
        """Return the next block.

        Raises:
            RuntimeError: when the process failed, with what it said.
        """
        self._send("block")
        answer = self._process.stdout.readline() if self._process.stdout else ""
        if not answer:
            self._process.wait()
            self._errors.seek(0)
            raise RuntimeError(
                f"The measuring process {self._module} failed:\n{self._errors.read()[-2000:]}"
            )
        return Block(**json.loads(answer))

    def _send(self, line: str) -> None:
        if self._process.stdin:
            try:
                self._process.stdin.write(f"{line}\n")
                self._process.stdin.flush()
            except BrokenPipeError:
                return  # it died: `block` finds no answer, and says why

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()  # it has nothing to finish
        self._process.communicate()
        self._errors.close()


def run_file_cost(specification: "DataclassInstance") -> FileCost:
    """Return what `pipeline.timing.time_file` measures, with all cores.

    Raises:
        RuntimeError: when the process failed, with what it said.
    """
    process = subprocess.run(
        [sys.executable, "-m", "pipeline.timing.time_file"],
        input=json.dumps(asdict(specification)),
        capture_output=True,
        text=True,
        check=False,
    )
    if process.returncode != 0:
        raise RuntimeError(f"The measuring process failed:\n{process.stderr[-2000:]}")
    return FileCost(**json.loads(process.stdout))
