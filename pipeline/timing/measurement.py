"""A measurement on disk: everything that a benchmark saw, as JSON, raw times included.

It is what statistics, verdicts and later comparisons are made of. ``benchmark.json`` of a run and
``--out`` of the command line are the same document.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from pipeline.errors import InputError
from pipeline.facts.arms import Arm
from pipeline.facts.latency import Conditions, FileCost, Graph
from pipeline.facts.overhead import Verdict
from pipeline.store.files import write_atomic
from pipeline.timing.blocks import Block
from pipeline.timing.cells import MeasuredCell


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """One run of the benchmark."""

    kind: Literal["adapter-distill benchmark"] = "adapter-distill benchmark"
    schema_version: Literal[1] = 1
    created: str
    """UTC, ISO 8601."""
    machine: dict[str, str]
    conditions: Conditions
    candidate: Arm
    """The arm that is in question."""
    baseline: Arm
    """The arm whose time is 1, the plain backbone."""
    teacher: Arm | None
    """The adapter teacher, the positive control, where there is one."""
    graphs: dict[Arm, Graph]
    """Structure and digest of each arm's file."""
    costs: dict[Arm, FileCost]
    cells: tuple[MeasuredCell, ...]
    ladder: tuple[Block, ...]
    ladder_calls: int
    """Calls of a round of the ladder."""
    verdict: Verdict | None
    """None where no adapter teacher was measured."""


_ADAPTER = TypeAdapter(Measurement)


def write_measurement(measurement: Measurement, path: Path) -> None:
    """Write a measurement as JSON."""
    write_atomic(path, _ADAPTER.dump_json(measurement))


def read_measurement(path: Path) -> Measurement:
    """Return what `write_measurement` wrote.

    Raises:
        InputError: when the file cannot be read or is something else.
    """
    try:
        return _ADAPTER.validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(
            f"Cannot read {path}: {error.strerror}. Give the JSON that benchmark --out wrote."
        ) from error
    except ValidationError as error:
        raise InputError(
            f"{path} is not a measurement: expected the JSON that adapter-distill benchmark --out "
            f"wrote, or benchmark/benchmark.json of a run; found {error.error_count()} problems. "
            "Measure again."
        ) from error
