"""What variants of one bundle cost on this machine, paired, in a process of its own.

As in benchmark_cell.py, the session is the sample: every block opens each variant anew, in random
order and after a random heap allocation, and interleaves the calls. Texts come one at a time, with
the lengths that the data has. One pinned thread; its CPU time is free of the neighbours' noise.

Reads a `TimingSpec` as JSON on standard input, writes milliseconds by variant and block as JSON on
standard output.
"""

import json
import os
import random
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort

from pipeline.inference import Runtime

_WARMUP_CALLS = 2
_FEWEST_BLOCKS = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class TimingSpec:
    """What the process measures."""

    bundle: str
    runtimes: dict[str, dict[str, object]]
    """`Runtime` by variant."""
    lengths: list[int]
    """Tokens of each of the data's texts."""
    vocab_size: int
    calls: int
    """Timed texts per block."""
    blocks: int
    seconds: float
    """No new block is begun after this time, once four are done."""
    seed: int


def time_variants(spec: TimingSpec) -> dict[str, list[float]]:
    """Return the thread CPU time of a text by variant, in ms: a mean for each block.

    Raises:
        RuntimeError: when the measuring process fails, with what it said.
    """
    process = subprocess.run(
        [sys.executable, "-m", "pipeline.variant_timing"],
        input=json.dumps(asdict(spec)),
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1", "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"},
    )
    if process.returncode != 0:
        raise RuntimeError(f"The measuring process failed:\n{process.stderr[-2000:]}")
    times: dict[str, list[float]] = json.loads(process.stdout)
    return times


def measure(spec: TimingSpec) -> dict[str, list[float]]:
    """Return the same, measured in this process, which is pinned to one core."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    chance = random.Random(spec.seed)
    times: dict[str, list[float]] = {name: [] for name in spec.runtimes}
    started = time.monotonic()
    for number in range(spec.blocks):
        if number >= _FEWEST_BLOCKS and time.monotonic() - started > spec.seconds:
            break
        for name, total_ns in _measure_block(spec, chance).items():
            times[name].append(total_ns / spec.calls / 1e6)
    return times


def _measure_block(spec: TimingSpec, chance: random.Random) -> dict[str, int]:
    """Return each variant's CPU time over the same texts, in nanoseconds."""
    names = list(spec.runtimes)
    chance.shuffle(names)
    padding, sessions = [], {}
    for name in names:
        padding.append(bytearray(chance.randrange(1, 4_000_000)))
        runtime = Runtime.model_validate(spec.runtimes[name])
        sessions[name] = runtime.open(Path(spec.bundle), threads=1)
    total_ns = dict.fromkeys(names, 0)
    for call in range(_WARMUP_CALLS + spec.calls):
        ids = np.array(
            [[chance.randrange(1, spec.vocab_size) for _ in range(chance.choice(spec.lengths))]]
        )
        chance.shuffle(names)
        for name in names:
            inputs = _inputs(sessions[name], ids)
            before = time.thread_time_ns()
            sessions[name].run(None, inputs)
            if call >= _WARMUP_CALLS:
                total_ns[name] += time.thread_time_ns() - before
    return total_ns


def _inputs(session: ort.InferenceSession, ids: np.ndarray) -> dict[str, np.ndarray]:
    everything = {
        "input_ids": ids,
        "attention_mask": np.ones_like(ids),
        "token_type_ids": np.zeros_like(ids),
    }
    return {each.name: everything[each.name] for each in session.get_inputs()}


if __name__ == "__main__":
    json.dump(measure(TimingSpec(**json.load(sys.stdin))), sys.stdout)
