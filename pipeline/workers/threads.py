"""Number of threads that this process may run at once, for all libraries.

Libraries start a thread per processor of the host. In a container that may use 2 of 64 processors,
these threads wait for one another most of the time. This module counts the processors that the
kernel allows, by the process's affinity and the quotas of its cgroups. Version
1 (``cpu.cfs_quota_us``) and version 2 (``cpu.max``) are read. OMP_NUM_THREADS wins over the count.

Work of small steps always runs on one thread. Beside other work, each step would wait until the
slowest thread gets a processor (pipeline/training/small_work.py).
"""

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_OWN_ROOT = Path("/")
_VARIABLE = "OMP_NUM_THREADS"
_POOLS = (_VARIABLE, "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")
"""Variables that torch, pyarrow, BLAS libraries and tokenizers read at import."""


def count_processors(root: Path = _OWN_ROOT) -> int:
    """Return how many processors this process may use at the same time, at least 1.

    Args:
        root: Of the file system with ``proc`` and the cgroups.
    """
    return max(1, math.ceil(min(_affinity(), cgroup_quota(root))))


def count_threads() -> int:
    """Return how many threads a library may start: OMP_NUM_THREADS, or the processors."""
    return _chosen_by_user() or count_processors()


def count_idle_threads() -> int:
    """Return how many of these threads find a processor that is idle now, at least 1.

    Meant for work of a few seconds. The load is that of the last minute and of the whole host.
    """
    idle = (os.cpu_count() or 1) - round(os.getloadavg()[0])
    return _chosen_by_user() or max(1, min(count_processors(), idle))


def limit_threads() -> None:
    """Let libraries that are imported from now on, here and in children, start no more threads."""
    for variable, value in thread_variables(count_threads()).items():
        os.environ.setdefault(variable, value)


def thread_variables(threads: int) -> dict[str, str]:
    """Return the environment of a process whose libraries are to use this many threads."""
    alone = {"TOKENIZERS_PARALLELISM": "false"} if threads == 1 else {}
    return dict.fromkeys(_POOLS, str(threads)) | alone


def describe_threads() -> str:
    """Return how many threads are used and what limits them, for people."""
    threads, host = count_threads(), os.cpu_count() or 1
    if threads != count_processors():
        return f"{threads} (set by {_VARIABLE})"
    limits = [
        name
        for name, count in (("affinity", _affinity()), ("cgroup", cgroup_quota()))
        if count < host
    ]
    return f"{threads} of {host} processors" + (f" ({' and '.join(limits)})" if limits else "")


def _chosen_by_user() -> int | None:
    """Return the first number in OMP_NUM_THREADS, which may hold one per nested level."""
    first = os.environ.get(_VARIABLE, "").split(",")[0].strip()
    return int(first) if first.isdecimal() and int(first) > 0 else None


def _affinity() -> int:
    """Return how many processors the scheduler may put this process on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cgroup_quota(root: Path = _OWN_ROOT) -> float:
    """Return the processor time per time that all cgroups around this process leave it.

    Infinite where there is no limit, or nothing can be read.
    """
    return min((quota for folder in _folders(root) for quota in _quotas(folder)), default=math.inf)


@dataclass(frozen=True, slots=True)
class _Mount:
    """A mounted hierarchy of cgroups that may limit processor time."""

    version: int
    top: str
    """Path of its topmost visible cgroup, as the kernel names it."""
    folder: Path


def _folders(root: Path) -> Iterator[Path]:
    """Yield the folder of this process's cgroup, and of all around it, in every hierarchy."""
    paths = dict(_own_paths(_lines(root / "proc/self/cgroup")))
    for mount in _mounts(root, _lines(root / "proc/self/mountinfo")):
        if mount.version not in paths:
            continue
        own = Path(paths[mount.version])
        # Where a container sees its cgroup alone, the kernel's path leads outside: the top is it.
        inner = own.relative_to(mount.top) if own.is_relative_to(mount.top) else Path()
        for part in (inner, *inner.parents):
            yield mount.folder / part


def _own_paths(lines: list[str]) -> Iterator[tuple[int, str]]:
    """Yield version and path of this process's cgroups, of lines such as ``4:cpu,cpuacct:/a``."""
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            yield 2, path
        elif "cpu" in controllers.split(","):
            yield 1, path


def _mounts(root: Path, lines: list[str]) -> Iterator[_Mount]:
    """Yield the hierarchies of proc(5)'s mountinfo."""
    for line in lines:
        place, kind = (part.split() for part in line.partition(" - ")[::2])
        if len(place) < 5 or not kind:
            continue
        folder = root / place[4].lstrip("/")
        if kind[0] == "cgroup2":
            yield _Mount(2, place[3], folder)
        elif kind[0] == "cgroup" and "cpu" in kind[-1].split(","):
            yield _Mount(1, place[3], folder)


def _quotas(folder: Path) -> Iterator[float]:
    """Yield the limit of a cgroup, of either version, where it has one."""
    old = [*_lines(folder / "cpu.cfs_quota_us"), *_lines(folder / "cpu.cfs_period_us")]
    for given in (_lines(folder / "cpu.max"), old):
        numbers = " ".join(given).split()  # "max" and -1 are no limit
        if len(numbers) == 2 and all(each.isdecimal() for each in numbers) and int(numbers[1]):
            yield int(numbers[0]) / int(numbers[1])


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
