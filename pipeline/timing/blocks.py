"""One block of timed calls, and the line protocol of a measuring process.

The first line of its standard input is a JSON specification. For every further line the process
makes one block, until its input ends. Its parent can therefore alternate between processes and stop
when the blocks suffice.
"""

import json
import os
import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pipeline.facts.arms import Arm

Call = Callable[[], object]


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """Every timed call of one block, in nanoseconds, by arm, round after round."""

    cpu_ns: dict[Arm, list[int]]
    wall_ns: dict[Arm, list[int]]


def time_block(arms: Mapping[Arm, Sequence[Call]], *, rounds: int, rng: random.Random) -> Block:
    """Time every arm's calls ``rounds`` times, the arms interleaved in random order.

    Args:
        arms: The calls of each arm, equally many, of which the n-th do the same work.
    """
    names = list(arms)
    block = Block(cpu_ns={arm: [] for arm in names}, wall_ns={arm: [] for arm in names})
    calls = len(arms[names[0]])
    for _ in range(rounds):
        for number in range(calls):
            rng.shuffle(names)
            for arm in names:
                run = arms[arm][number]
                cpu, wall = time.thread_time_ns(), time.perf_counter_ns()
                run()
                block.cpu_ns[arm].append(time.thread_time_ns() - cpu)
                block.wall_ns[arm].append(time.perf_counter_ns() - wall)
    return block


def mean_call(times_ns: Sequence[int], calls: int) -> float:
    """Return the mean over calls of each one's median over rounds, in nanoseconds.

    Args:
        times_ns: Round after round, as `time_block` keeps them.
        calls: Calls of a round.
    """
    rounds = np.reshape(times_ns, (-1, calls))
    return float(np.median(rounds, axis=0).mean())


def read_specification() -> dict[str, Any]:  # Any: a specification is what the process defines
    """Return what the parent sent first; from now on nothing but blocks is printed."""
    found: dict[str, Any] = json.loads(sys.stdin.readline())
    return found


def serve_blocks(make_block: Callable[[], Block]) -> None:
    """Print a block as one JSON line for every line read, until the input ends."""
    # A library that prints would break the protocol: its output goes to standard error.
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)
        for _ in sys.stdin:
            print(json.dumps(asdict(make_block())), file=answers, flush=True)
