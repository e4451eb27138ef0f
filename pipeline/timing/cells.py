"""Measuring cells: blocks are added until the noise is small enough or the time is up.

The A/A arm alone, that is, the same file measured twice, decides when to stop. Frequent looks
therefore do not favour any verdict on the student.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.config import BenchmarkConfig
from pipeline.facts.arms import Arm, a_a_arm
from pipeline.facts.latency import cell_name
from pipeline.statistics.intervals import estimate_ratio
from pipeline.timing.blocks import Block, mean_call
from pipeline.timing.processes import LARGE_PAGES, Worker
from pipeline.timing.time_cell import CellSpec
from pipeline.timing.workload import Workload

_FEWEST = 3
_BESIDE_THE_BASELINE = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasuredCell:
    """One cell with every time that was measured in it."""

    batch: int
    length: int | None
    """Tokens per text; None: the texts' own lengths."""
    calls: int
    """Calls of a round."""
    seconds: float
    """How long it took."""
    blocks: tuple[Block, ...]
    past: int = 0
    """Tokens before these, whose keys and values are given."""

    @property
    def name(self) -> str:
        """Return the cell's name, for people."""
        return cell_name(self.batch, self.length, self.past)

    @property
    def arms(self) -> tuple[Arm, ...]:
        """Return the names of the arms."""
        return tuple(self.blocks[0].cpu_ns)

    def log_ratios(self, arm: Arm, base: Arm) -> np.ndarray:
        """Return log(arm / base) of the CPU time of a mean call, one a block."""
        return log_ratios([block.cpu_ns for block in self.blocks], arm, base, self.calls)

    def wall_ms(self, arm: Arm) -> np.ndarray:
        """Return the wall time of every call, in milliseconds."""
        return np.concatenate([block.wall_ns[arm] for block in self.blocks]) / 1e6


def log_ratios(
    times: Sequence[Mapping[Arm, Sequence[int]]], arm: Arm, base: Arm, calls: int
) -> np.ndarray:
    """Return log(arm / base) of a mean call, one a block."""
    pairs = [(mean_call(each[arm], calls), mean_call(each[base], calls)) for each in times]
    return np.log([one / other for one, other in pairs])


def in_groups(arms: Sequence[Arm]) -> Iterator[tuple[Arm, ...]]:
    """Yield the arms that are measured together beside a baseline.

    They are two: the baseline is measured twice, and more than four disturb one another.
    """
    for start in range(0, len(arms), _BESIDE_THE_BASELINE):
        yield tuple(arms[start : start + _BESIDE_THE_BASELINE])


def measure_cell(
    files: Mapping[Arm, Path],
    baseline: Arm,
    workload: Workload,
    config: BenchmarkConfig,
    *,
    seed: int,
    on_progress: Callable[[str], None],
) -> MeasuredCell:
    """Return one cell, measured in a process of its own.

    Args:
        files: ONNX file by arm, at most three: more than four arms disturb one another.
        baseline: The arm that is measured twice.
        on_progress: Is given the progress after each block.

    Raises:
        RuntimeError: when the measuring process fails, with what it said.
    """
    rest = {arm: path for arm, path in files.items() if arm != baseline}
    arms = {baseline: files[baseline], a_a_arm(baseline): files[baseline], **rest}
    several = len(workload.calls) > 1
    spec = CellSpec(
        files={arm: str(path) for arm, path in arms.items()},
        calls=workload.calls,
        past=workload.past,
        rounds=max(2, config.rounds // 4) if several else config.rounds,
        warmup_runs=config.warmup_runs,
        pinned=config.provider == "cpu",  # elsewhere its own threads feed the device
        seed=seed,
        provider=config.provider,
    )
    blocks: list[Block] = []
    started = time.monotonic()
    with Worker("pipeline.timing.time_cell", spec, LARGE_PAGES) as worker:
        while True:
            blocks.append(worker.block())
            seconds = time.monotonic() - started
            noise = _noise(blocks, baseline, len(workload.calls), config.confidence)
            on_progress(f"{workload.name}: {len(blocks)} blocks, same file \u00b1{noise:.1%}")
            if is_enough(len(blocks), noise, seconds, config):
                break
    return MeasuredCell(
        batch=workload.batch,
        length=workload.length,
        calls=len(workload.calls),
        seconds=round(seconds, 2),
        blocks=tuple(blocks),
        past=workload.past,
    )


def is_enough(blocks: int, half_width: float, seconds: float, config: BenchmarkConfig) -> bool:
    """Return whether a cell needs no further block.

    Args:
        blocks: Blocks so far.
        half_width: Of the A/A interval over them, as part of 1.
        seconds: Time so far.
    """
    if blocks < _FEWEST:
        return False
    quiet = blocks >= config.min_blocks and half_width <= config.target_half_width
    return quiet or blocks >= config.max_blocks or seconds > config.seconds_per_cell


def _noise(blocks: Sequence[Block], baseline: Arm, calls: int, confidence: float) -> float:
    """Return the half-width of the A/A interval; infinite before there are two blocks."""
    if len(blocks) < 2:
        return float("inf")
    times = [block.cpu_ns for block in blocks]
    logs = log_ratios(times, a_a_arm(baseline), baseline, calls)
    return estimate_ratio(logs, confidence).half_width
