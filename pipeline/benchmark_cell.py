"""One cell of the benchmark, in a process of its own: times onnxruntime sessions, block by block.

Two sessions of the same file differ by several per cent, because each lies elsewhere in memory
(Curtsinger & Berger, 2013, Stabilizer, ASPLOS): the session, not the call, is the sample. So every
block makes a fresh session per arm, in random order and after a random heap allocation, and
interleaves the calls. Thread CPU time is measured beside wall time: with one thread it is the same
work without the neighbours' noise.

Reads a `CellSpec` as JSON on standard input, writes its blocks as JSON on standard output.
"""

import json
import os
import random
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
import onnxruntime as ort


@dataclass(frozen=True, kw_only=True, slots=True)
class CellSpec:
    """What one process measures."""

    files: dict[str, str]
    """ONNX file by arm."""
    batch: int
    length: int
    vocab_size: int
    blocks: int
    rounds: int
    warmup_runs: int
    seconds: float
    """No new block is begun after this time, once three are done."""
    seed: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """Every timed call of one block, in nanoseconds, by arm."""

    cpu_ns: dict[str, list[int]]
    wall_ns: dict[str, list[int]]


def measure_cell(spec: CellSpec) -> list[Block]:
    """Return the blocks of one cell, with this process on one core."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    chance = random.Random(spec.seed)
    ids = np.random.default_rng(spec.seed).integers(
        1, spec.vocab_size, size=(spec.batch, spec.length), dtype=np.int64
    )
    feeds = {
        "input_ids": ids,
        "attention_mask": np.ones_like(ids),
        "token_type_ids": np.zeros_like(ids),
    }
    blocks: list[Block] = []
    started = time.monotonic()
    while len(blocks) < spec.blocks:
        if len(blocks) >= 3 and time.monotonic() - started > spec.seconds:
            break
        blocks.append(_measure_block(spec, feeds, chance))
    return blocks


def _measure_block(spec: CellSpec, feeds: dict[str, np.ndarray], chance: random.Random) -> Block:
    arms = list(spec.files)
    chance.shuffle(arms)
    padding = []
    runs: dict[str, Callable[[], object]] = {}
    for arm in arms:
        padding.append(bytearray(chance.randrange(1, 4_000_000)))
        session = _open(spec.files[arm])
        inputs = {each.name: feeds[each.name] for each in session.get_inputs()}
        runs[arm] = partial(session.run, None, inputs)
        for _ in range(spec.warmup_runs):
            runs[arm]()
    block = Block(cpu_ns={arm: [] for arm in arms}, wall_ns={arm: [] for arm in arms})
    for _ in range(spec.rounds):
        chance.shuffle(arms)
        for arm in arms:
            cpu, wall = time.thread_time_ns(), time.perf_counter_ns()
            runs[arm]()
            block.cpu_ns[arm].append(time.thread_time_ns() - cpu)
            block.wall_ns[arm].append(time.perf_counter_ns() - wall)
    return block


def _open(path: str) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


if __name__ == "__main__":
    specification = CellSpec(**json.load(sys.stdin))
    json.dump([asdict(block) for block in measure_cell(specification)], sys.stdout)
