"""Conditions of a timing: the machine, and how busy it was meanwhile."""

import os
import platform
import resource
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from pipeline.facts.latency import Conditions
from pipeline.workers.threads import count_processors, describe_threads

_CPU_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm")
"""Instructions that decide how fast a matrix product is."""


def describe_machine() -> dict[str, str]:
    """Return what a timing depends on and what does not change: processor, kernel, versions."""
    flags = _cpuinfo("flags", "Features").split()
    return {
        "cpu": _cpuinfo("model name") or platform.processor() or platform.machine(),
        "cores": str(count_processors()),
        "instructions": " ".join(flag for flag in _CPU_FLAGS if flag in flags) or "unknown",
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "huge pages": _read("/sys/kernel/mm/transparent_hugepage/enabled"),
        "kernel": platform.release(),
        "libc": " ".join(platform.libc_ver()),
        "python": platform.python_version(),
        "onnxruntime": version("onnxruntime"),
        "numpy": version("numpy"),
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class _Reading:
    load: float
    ticks: tuple[int, ...]
    switches: int


class ConditionsMeter:
    """Watches the machine from its creation until it is read."""

    def __init__(self) -> None:
        self._start = _take_reading()

    def read(self) -> Conditions:
        """Return what happened since; processes count when they have ended."""
        start, end = self._start, _take_reading()
        ticks = [after - before for before, after in zip(start.ticks, end.ticks, strict=True)]
        total = max(1, sum(ticks))
        # user nice system idle iowait irq softirq steal, as in proc(5).
        idle, steal = ticks[3] + ticks[4], ticks[7]
        return Conditions(
            load_before=start.load,
            load_after=end.load,
            steal=steal / total,
            busy=1 - (idle + steal) / total,
            involuntary_switches=end.switches - start.switches,
            threads=describe_threads(),
        )


def _take_reading() -> _Reading:
    # The last two columns, guests' time, are counted in the first two as well.
    ticks = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    return _Reading(
        load=os.getloadavg()[0],
        ticks=tuple(map(int, ticks)),
        switches=resource.getrusage(resource.RUSAGE_CHILDREN).ru_nivcsw,
    )


def _cpuinfo(*names: str) -> str:
    """Return the first processor's value of the first of these entries."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() in names:
            return value.strip()
    return ""


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return "unknown"
