"""The latency ladder: wall time of one text, from the teacher in PyTorch down to the student.

The ladder shows the time that a user sees, not the cost of the adapters alone. Each arm runs in its
own process, with the defaults of its runtime and one thread. A call takes one text of the data's
own lengths. The processes alternate in random order, block by block; a rung is compared within its
block.
"""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from pipeline.config import BenchmarkConfig
from pipeline.facts.arms import TORCH_TEACHER, Arm
from pipeline.facts.latency import Rung
from pipeline.facts.variants import Runtime
from pipeline.statistics.intervals import estimate_ratio
from pipeline.timing.blocks import Block, mean_call
from pipeline.timing.cells import log_ratios
from pipeline.timing.processes import Worker
from pipeline.timing.time_cell import CellSpec
from pipeline.timing.torch_teacher import TorchSpec, TorchTeacher
from pipeline.timing.workload import Workload

_FEWEST = 3
_ROUNDS = 3


def measure_ladder(
    files: Mapping[Arm, Path],
    torch_teacher: TorchTeacher | None,
    workload: Workload,
    config: BenchmarkConfig,
    *,
    runtimes: Mapping[Arm, Runtime] | None = None,
    seed: int,
    on_progress: Callable[[str], None],
) -> tuple[Block, ...]:
    """Return the ladder's blocks, each with all arms.

    Args:
        files: ONNX file by arm.
        torch_teacher: The first rung; None leaves it out.
        runtimes: How to open an arm's file; by default as its bundle says.
        on_progress: Is given the progress after each block.

    Raises:
        RuntimeError: when a measuring process fails, with what it said.
    """
    rng = random.Random(seed)
    blocks: list[Block] = []
    started = time.monotonic()
    with ExitStack() as stack:
        workers = {
            arm: stack.enter_context(
                _session_worker(arm, path, (runtimes or {}).get(arm), workload, config, seed)
            )
            for arm, path in files.items()
        }
        if torch_teacher is not None:
            worker = _torch_worker(torch_teacher, workload, config, seed)
            workers[TORCH_TEACHER] = stack.enter_context(worker)
        while len(blocks) < config.ladder_blocks:
            if len(blocks) >= _FEWEST and time.monotonic() - started > config.seconds_per_cell:
                break
            arms = list(workers)
            rng.shuffle(arms)
            made = [workers[arm].block() for arm in arms]
            blocks.append(
                Block(
                    cpu_ns={arm: times for each in made for arm, times in each.cpu_ns.items()},
                    wall_ns={arm: times for each in made for arm, times in each.wall_ns.items()},
                )
            )
            on_progress(f"ladder: {len(blocks)} of {config.ladder_blocks} blocks")
    return tuple(blocks)


def describe_rungs(
    blocks: Sequence[Block], calls: int, confidence: float, *, teacher: Arm | None
) -> tuple[Rung, ...]:
    """Return the rungs of measured blocks, slowest first; none without blocks.

    Args:
        calls: Calls of a round.
        teacher: The arm of the teacher in onnxruntime, where there is one.
    """
    times = [block.wall_ns for block in blocks]
    rungs = []
    for arm in times[0] if times else ():
        means_ms = [mean_call(each[arm], calls) / 1e6 for each in times]
        calls_ms = np.concatenate([each[arm] for each in times]) / 1e6
        p50, p95, p99 = (float(each) for each in np.percentile(calls_ms, (50, 95, 99)))
        faster, cpu_faster = (
            {
                other: estimate_ratio(log_ratios(clock, other, arm, calls), confidence)
                for other in times[0]
            }
            for clock in (times, [block.cpu_ns for block in blocks])
        )
        rungs.append(
            Rung(
                arm=arm,
                runtime="PyTorch" if arm == TORCH_TEACHER else "onnxruntime",
                mean_ms=estimate_ratio(np.log(means_ms), confidence),
                p50_ms=p50,
                p95_ms=p95,
                p99_ms=p99,
                faster_than_torch=faster.get(TORCH_TEACHER),
                faster_than_teacher=faster[teacher] if teacher else None,
                cpu_faster_than_torch=cpu_faster.get(TORCH_TEACHER),
                cpu_faster_than_teacher=cpu_faster[teacher] if teacher else None,
            )
        )
    return tuple(sorted(rungs, key=lambda rung: -rung.mean_ms.value))


def _session_worker(
    arm: Arm,
    path: Path,
    runtime: Runtime | None,
    workload: Workload,
    config: BenchmarkConfig,
    seed: int,
) -> Worker:
    spec = CellSpec(
        files={arm: str(path)},
        runtimes={} if runtime is None else {arm: runtime.model_dump(mode="json")},
        calls=workload.calls,
        rounds=_ROUNDS,
        warmup_runs=config.warmup_runs,
        pinned=False,
        seed=seed,
        provider=config.provider,
    )
    return Worker("pipeline.timing.time_cell", spec)


def _torch_worker(
    teacher: TorchTeacher, workload: Workload, config: BenchmarkConfig, seed: int
) -> Worker:
    spec = TorchSpec(
        arm=TORCH_TEACHER,
        teacher=str(teacher.folder),
        backbone=None if teacher.backbone is None else str(teacher.backbone),
        calls=workload.calls,
        rounds=_ROUNDS,
        warmup_runs=config.warmup_runs,
        seed=seed,
    )
    return Worker("pipeline.timing.time_torch", spec)
