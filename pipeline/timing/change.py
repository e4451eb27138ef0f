"""Comparison of two measurements: did a candidate become faster?

Sessions of another day are other samples, so blocks are not paired. If both measurements have the
same baseline file, candidates are compared through it. Then a change of the machine cancels out of
the ratio. Otherwise their times are compared as they are.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pipeline.errors import InputError
from pipeline.facts.arms import Arm
from pipeline.facts.latency import Estimate
from pipeline.statistics.intervals import estimate_change
from pipeline.timing.blocks import mean_call
from pipeline.timing.cells import MeasuredCell
from pipeline.timing.measurement import Measurement

_MUST_AGREE = ("cpu", "cores", "instructions", "governor", "huge pages", "onnxruntime", "kernel")
"""Facts of the machine that change a time; versions of Python and NumPy do not."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ChangedCell:
    """One cell that both measurements have."""

    cell: str
    ratio: Estimate
    """Thread CPU time, B / A."""
    how: str
    """``through the same baseline``, or ``times as they are``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasurementChange:
    """Changes from measurement A to measurement B."""

    old: Arm
    """A's candidate."""
    new: Arm
    """B's candidate."""
    rows: tuple[ChangedCell, ...]
    finding: str
    """In one sentence."""


def compare_measurements(
    old: Measurement, new: Measurement, *, confidence: float = 0.95
) -> MeasurementChange:
    """Return how the candidate's CPU time changed, cell by cell.

    Raises:
        InputError: when they are of different machines, or have no cell in common.
    """
    _check_machines(old, new)
    rows = tuple(_rows(old, new, confidence))
    if not rows:
        raise InputError(
            f"The measurements have no cell in common: A has {_cells(old)}, B has {_cells(new)}. "
            "Measure both with the same --batch, --length and --texts."
        )
    slower = [row.cell for row in rows if row.ratio.low > 1]
    faster = [row.cell for row in rows if row.ratio.high < 1]
    parts = [f"slower at {'; '.join(slower)}"] if slower else []
    parts += [f"faster at {'; '.join(faster)}"] if faster else []
    said = ", ".join(parts) or f"no difference beyond the noise in {len(rows)} cells"
    return MeasurementChange(
        old=old.candidate, new=new.candidate, rows=rows, finding=f"B is: {said}"
    )


def _check_machines(old: Measurement, new: Measurement) -> None:
    differing = [
        f"{name}: {old.machine.get(name)!r} and {new.machine.get(name)!r}"
        for name in _MUST_AGREE
        if old.machine.get(name) != new.machine.get(name)
    ]
    if old.provider != new.provider:
        differing.append(f"provider: {old.provider!r} and {new.provider!r}")
    if differing:
        raise InputError(
            "The measurements are of different machines, and their times say nothing of one "
            f"another: {'; '.join(differing)}. Measure both files on one machine."
        )


def _rows(old: Measurement, new: Measurement, confidence: float) -> Iterator[ChangedCell]:
    same_baseline = (
        old.graphs[old.baseline].sha256 == new.graphs[new.baseline].sha256
        and old.candidate != old.baseline
        and new.candidate != new.baseline
    )
    mine, theirs = _by_name(old), _by_name(new)
    for name in mine:
        if name not in theirs:
            continue
        if same_baseline:
            logs = [
                cell.log_ratios(measured.candidate, measured.baseline)
                for cell, measured in ((theirs[name], new), (mine[name], old))
            ]
        else:
            logs = [_log_times(theirs[name], new.candidate), _log_times(mine[name], old.candidate)]
        yield ChangedCell(
            cell=name,
            ratio=estimate_change(logs[0], logs[1], confidence),
            how="through the same baseline" if same_baseline else "times as they are",
        )


def _by_name(measurement: Measurement) -> dict[str, MeasuredCell]:
    candidate = measurement.candidate
    return {cell.name: cell for cell in measurement.cells if candidate in cell.arms}


def _log_times(cell: MeasuredCell, arm: Arm) -> np.ndarray:
    return np.log([mean_call(block.cpu_ns[arm], cell.calls) for block in cell.blocks])


def _cells(measurement: Measurement) -> str:
    return "; ".join(_by_name(measurement))
