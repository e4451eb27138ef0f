"""A measurement on disk: everything that a benchmark saw, as JSON, raw times included.

It is what statistics, verdicts and later comparisons are made of. ``benchmark.json`` of a run and
``--out`` of the command line are the same document.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter

from pipeline.errors import InputError
from pipeline.facts.arms import Arm
from pipeline.facts.latency import Conditions, FileCost, Graph
from pipeline.facts.overhead import Verdict
from pipeline.store.files import write_atomic
from pipeline.store.json_files import read_json
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
    provider: str = "cpu"
    """Execution provider of onnxruntime that ran the files."""


_ADAPTER = TypeAdapter(Measurement)
_FEWEST_BLOCKS = 2
"""Fewest blocks that give an interval."""


def write_measurement(measurement: Measurement, path: Path) -> None:
    """Write a measurement as JSON."""
    write_atomic(path, _ADAPTER.dump_json(measurement))


def read_measurement(path: Path) -> Measurement:
    """Return what `write_measurement` wrote.

    Raises:
        InputError: when the file cannot be read or is something else.
    """
    measurement = read_json(
        path,
        _ADAPTER,
        expected="a measurement",
        advice="Give the JSON that adapter-distill benchmark --out wrote, or "
        "benchmark/benchmark.json of a run.",
    )
    if problem := _contradiction(measurement):
        raise InputError(f"{path} contradicts itself: {problem}. Measure again.")
    return measurement


def _contradiction(measurement: Measurement) -> str | None:
    """Return what no benchmark writes, and what comparisons would stumble over."""
    for arm in (measurement.candidate, measurement.baseline):
        if arm not in measurement.graphs:
            return f"it has no graph of {arm!r}"
    if not any(measurement.candidate in cell.arms for cell in measurement.cells if cell.blocks):
        return f"it has no cell of {measurement.candidate!r}"
    for cell in measurement.cells:
        if cell.batch < 1 or cell.calls < 1 or len(cell.blocks) < _FEWEST_BLOCKS:
            return f"the cell {cell.name!r} has too few calls or blocks"
        for block in cell.blocks:
            if block.cpu_ns.keys() != set(cell.arms) or measurement.baseline not in block.cpu_ns:
                return f"the cell {cell.name!r} has blocks without an arm"
            for arm, times in block.cpu_ns.items():
                if not times or len(times) % cell.calls or min(times) <= 0:
                    return f"the cell {cell.name!r} has no whole rounds of times of {arm!r}"
    return None
