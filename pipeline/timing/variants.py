"""Cost of the ways to run one bundle on this machine: the benchmark's blocks, without a verdict."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pipeline.facts.arms import variant_arm
from pipeline.facts.latency import Estimate
from pipeline.facts.variants import Runtime
from pipeline.statistics.intervals import estimate_ratio
from pipeline.timing.blocks import Block, mean_call
from pipeline.timing.processes import LARGE_PAGES, Worker
from pipeline.timing.time_cell import CellSpec
from pipeline.timing.workload import Workload

_WARMUP_CALLS = 2
_FEWEST_BLOCKS = 4


def time_variants(
    bundle: Path,
    ways: Mapping[str, Runtime],
    workload: Workload,
    *,
    blocks: int,
    seconds: float,
    seed: int,
) -> dict[str, list[float]]:
    """Return the thread CPU time of a call by variant, in ms: a mean for each block.

    Args:
        bundle: Folder with the files that the ways name, in its ``onnx``.
        ways: How each variant is opened.
        workload: The calls of a block.
        blocks: At most so many; each opens every variant anew.
        seconds: No new block is begun after this time, once four are done.
        seed: Of the order and the padding of the heap.

    Raises:
        RuntimeError: when the measuring process fails, with what it said.
    """
    spec = CellSpec(
        files={variant_arm(name): str(bundle / "onnx" / way.file) for name, way in ways.items()},
        runtimes={variant_arm(name): way.model_dump(mode="json") for name, way in ways.items()},
        calls=workload.calls,
        rounds=1,
        warmup_runs=_WARMUP_CALLS,
        pinned=True,
        seed=seed,
    )
    done: list[Block] = []
    started = time.monotonic()
    with Worker("pipeline.timing.time_cell", spec, LARGE_PAGES) as worker:
        while len(done) < blocks:
            if len(done) >= _FEWEST_BLOCKS and time.monotonic() - started > seconds:
                break
            done.append(worker.block())
    calls = len(workload.calls)
    return {
        name: [mean_call(each.cpu_ns[variant_arm(name)], calls) / 1e6 for each in done]
        for name in ways
    }


def ratio_to_first(times: Mapping[str, Sequence[float]], name: str, confidence: float) -> Estimate:
    """Return a variant's time as a multiple of the first one's; that one's own is exactly one."""
    first = next(iter(times))
    return estimate_ratio(np.log(np.array(times[name]) / np.array(times[first])), confidence)
