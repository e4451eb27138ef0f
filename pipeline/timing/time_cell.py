"""A process that times onnxruntime sessions, block by block (protocol: `pipeline.timing.blocks`).

Two sessions of the same file differ by several per cent, because each has another place in memory
(Curtsinger & Berger, 2013, Stabilizer, ASPLOS). The session, not the call, is therefore the sample.
Every block makes a fresh session per arm, in random order and after a random heap allocation. The
calls are interleaved. Thread CPU time is measured beside wall time: it is the same work without the
noise of other processes.

Shapes: B = batch, T = tokens.
"""

import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from pipeline.config.provider import Provider
from pipeline.facts.arms import Arm
from pipeline.facts.variants import Runtime
from pipeline.inference.cache import POSITIONS, empty_cache
from pipeline.inference.classifier import runtime_of
from pipeline.inference.providers import BoundCall
from pipeline.inference.session import open_file
from pipeline.timing.blocks import Block, Call, read_specification, serve_blocks, time_block

TokenIds = list[list[int]]
_TYPES = {"tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(float)": np.float32}


@dataclass(frozen=True, kw_only=True, slots=True)
class CellSpec:
    """Specification of a process that times sessions."""

    files: dict[Arm, str]
    """ONNX file by arm: at most four, more of them disturb one another."""
    calls: list[TokenIds]
    """Token ids of each call of a round, (B, T)."""
    rounds: int
    warmup_runs: int
    pinned: bool
    """Whether to stay on one core."""
    seed: int
    # Any: a `Runtime` as plain JSON.
    runtimes: dict[Arm, dict[str, Any]] = field(default_factory=dict)
    """How to open an arm's file; by default as its bundle says."""
    past: int = 0
    """Tokens before those of a call, whose keys and values are given."""
    provider: Provider = "cpu"


def open_arm_session(
    path: str, threads: int = 1, provider: Provider = "cpu"
) -> ort.InferenceSession:
    """Return a session, as the file's bundle wants it."""
    runtime = runtime_of(Path(path)).model_copy(update={"provider": provider})
    return open_file(runtime, Path(path), threads=threads)


def _open_arm(spec: CellSpec, arm: Arm) -> ort.InferenceSession:
    if arm not in spec.runtimes:
        return open_arm_session(spec.files[arm], provider=spec.provider)
    runtime = Runtime.model_validate(spec.runtimes[arm] | {"provider": spec.provider})
    return open_file(runtime, Path(spec.files[arm]), threads=1)


def make_calls(
    session: ort.InferenceSession,
    calls: list[TokenIds],
    *,
    past: int = 0,
    provider: Provider = "cpu",
) -> list[Call]:
    """Return one function per call, that runs the session on these token ids, all attended."""
    runs: list[Call] = []
    for rows in calls:
        ids = np.array(rows)  # (B, T)
        batch, tokens = ids.shape
        everything = {
            "input_ids": ids,
            "attention_mask": np.ones((batch, past + tokens), dtype=np.int64),
            "token_type_ids": np.zeros_like(ids),
            POSITIONS: np.tile(np.arange(past, past + tokens), (batch, 1)),
            **empty_cache(session, batch, past),
        }
        feeds = {
            each.name: everything[each.name].astype(_TYPES[each.type])
            for each in session.get_inputs()
        }
        is_cpu = provider == "cpu"
        runs.append(
            partial(session.run, None, feeds) if is_cpu else BoundCall(session, feeds, provider)
        )
    return runs


def measure_block(spec: CellSpec, rng: random.Random) -> Block:
    """Return one block: fresh sessions, warmed up, then timed in turns."""
    names = list(spec.files)
    rng.shuffle(names)
    padding = []
    arms: dict[Arm, list[Callable[[], object]]] = {}
    for arm in names:
        padding.append(bytearray(rng.randrange(1, 4_000_000)))
        session = _open_arm(spec, arm)
        arms[arm] = make_calls(session, spec.calls, past=spec.past, provider=spec.provider)
        for _ in range(-(-spec.warmup_runs // len(spec.calls))):
            for run in arms[arm]:
                run()
    in_order = {arm: arms[arm] for arm in spec.files}
    block = time_block(in_order, rounds=spec.rounds, rng=rng)
    # What another processor does takes no time of this thread.
    return block if spec.provider == "cpu" else replace(block, cpu_ns=block.wall_ns)


if __name__ == "__main__":
    specification = CellSpec(**read_specification())
    if specification.pinned:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    serve_blocks(partial(measure_block, specification, random.Random(specification.seed)))
