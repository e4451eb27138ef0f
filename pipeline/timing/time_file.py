"""A process that measures the cost of one ONNX file: loading, memory, and time with all cores.

It reads a `FileSpec` as JSON from standard input and prints a `FileCost`. Memory is the peak of the
process, Python and onnxruntime included. It is read before anything is loaded twice.
"""

import json
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from pipeline.config.provider import Provider
from pipeline.facts.latency import FileCost
from pipeline.timing.blocks import Call
from pipeline.timing.time_cell import TokenIds, make_calls, open_arm_session
from pipeline.workers.threads import count_processors

_LOADS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class FileSpec:
    """Specification of a process that measures one file."""

    file: str
    single: list[TokenIds]
    """Token ids of calls with one text."""
    batch: TokenIds
    """Token ids of a call with several."""
    seconds: float
    """Time for each of the two."""
    provider: Provider = "cpu"


def measure_file(spec: FileSpec) -> FileCost:
    """Return the cost of a file with all of this process's cores."""
    loads = []
    cores = count_processors()
    started = time.perf_counter()
    session = open_arm_session(spec.file, threads=cores, provider=spec.provider)
    loads.append(time.perf_counter() - started)
    calls = partial(make_calls, session, provider=spec.provider)
    single = np.array(_run_for(calls(spec.single), spec.seconds)) / 1e6
    several = _run_for(calls([spec.batch]), spec.seconds)
    peak = _peak_rss_bytes()
    for _ in range(_LOADS - 1):
        started = time.perf_counter()
        open_arm_session(spec.file, threads=cores, provider=spec.provider)
        loads.append(time.perf_counter() - started)
    p50, p95, p99 = (float(each) for each in np.percentile(single, (50, 95, 99)))
    return FileCost(
        load_ms=1000 * statistics.median(loads),
        peak_rss_bytes=peak,
        threads=cores,
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        batch=len(spec.batch),
        texts_per_second=len(spec.batch) * len(several) / (sum(several) / 1e9),
    )


def _peak_rss_bytes() -> int:
    """Return the peak of this process; getrusage's would begin with its parent's."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def _run_for(calls: list[Call], seconds: float) -> list[int]:
    """Return the wall time of each call, in nanoseconds; the first pass warms up."""
    for call in calls:
        call()
    times: list[int] = []
    ends = time.perf_counter() + seconds
    while not times or time.perf_counter() < ends:
        for call in calls:
            started = time.perf_counter_ns()
            call()
            times.append(time.perf_counter_ns() - started)
    return times


if __name__ == "__main__":
    json.dump(asdict(measure_file(FileSpec(**json.load(sys.stdin)))), sys.stdout)
