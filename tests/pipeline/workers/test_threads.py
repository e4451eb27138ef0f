"""Counted processors against fake cgroup files, real affinity, and a real cgroup where possible."""

import json
import math
import os
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from pipeline.workers import threads
from pipeline.workers.threads import (
    cgroup_quota,
    count_idle_threads,
    count_processors,
    count_threads,
    describe_threads,
    limit_threads,
    thread_variables,
)

V1_MOUNT = "33 31 0:30 {top} /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct"
V2_MOUNT = "31 23 0:28 {top} /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw,nsdelegate"
HYBRID = "40 31 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw"
OTHER = "34 31 0:31 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\nnonsense\n\n1 2 3 - x"
V1, V2 = "sys/fs/cgroup/cpu,cpuacct", "sys/fs/cgroup"


def host(root: Path, cgroup, mounts, limits):
    """Write the files of a host: the process's cgroups, the mounts, and limits by folder."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(cgroup)
    (root / "proc/self/mountinfo").write_text("\n".join([*mounts, OTHER]))
    for folder, limit in limits.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        if isinstance(limit, str):
            (root / folder / "cpu.max").write_text(f"{limit}\n")
        else:
            for name, value in zip(("quota", "period"), limit, strict=True):
                (root / folder / f"cpu.cfs_{name}_us").write_text(f"{value}\n")
    return root


V2_OWN, V1_OWN = V2_MOUNT.format(top="/"), V1_MOUNT.format(top="/")
CASES = {
    "version 2": ("0::/a\n", [V2_OWN], {f"{V2}/a": "200000 100000"}, 2),
    "version 2, a part": ("0::/a\n", [V2_OWN], {f"{V2}/a": "50000 100000"}, 0.5),
    "version 2, no limit": ("0::/a\n", [V2_OWN], {f"{V2}/a": "max 100000"}, math.inf),
    "version 2, one around it": (
        "0::/a/b/c\n",
        [V2_OWN],
        {f"{V2}/a": "150000 100000", f"{V2}/a/b": "max 100000", f"{V2}/a/b/c": "400000 100000"},
        1.5,
    ),
    "version 2, own namespace": ("0::/\n", [V2_OWN], {V2: "300000 100000"}, 3),
    "version 2, path of the host": (
        "0::/kubepods/pod1/c1\n",
        [V2_MOUNT.format(top="/kubepods/pod1/c1")],
        {V2: "300000 100000"},
        3,
    ),
    "version 2, path that is not mounted": (
        "0::/../../elsewhere\n",
        [V2_MOUNT.format(top="/docker/c1")],
        {V2: "100000 100000"},
        1,
    ),
    "version 1": ("4:cpu,cpuacct:/a\n", [V1_OWN], {f"{V1}/a": (200000, 100000)}, 2),
    "version 1, no limit": ("4:cpu,cpuacct:/a\n", [V1_OWN], {f"{V1}/a": (-1, 100000)}, math.inf),
    "version 1, one around it": (
        "4:cpu,cpuacct:/a/b\n",
        [V1_OWN],
        {f"{V1}/a": (100000, 50000), f"{V1}/a/b": (-1, 100000)},
        2,
    ),
    "version 1, docker": (
        "4:cpu,cpuacct:/docker/c1\n0::/docker/c1\n",
        [V1_MOUNT.format(top="/docker/c1"), HYBRID],
        {V1: (250000, 100000)},
        2.5,
    ),
    "both": (
        "4:cpu,cpuacct:/a\n0::/a\n",
        [V1_OWN, HYBRID],
        {f"{V1}/a": (300000, 100000), "sys/fs/cgroup/unified/a": "200000 100000"},
        2,
    ),
    "damaged": ("0::/a\n:::\n\n", [V2_OWN], {f"{V2}/a": "so much", V2: "1 0"}, math.inf),
    "nothing": ("", [], {}, math.inf),
}


@pytest.mark.parametrize("case", CASES)
def test_quota_is_the_least_of_all_cgroups_around_the_process(tmp_path, case):
    cgroup, mounts, limits, expected = CASES[case]

    assert cgroup_quota(host(tmp_path, cgroup, mounts, limits)) == expected


def test_host_without_these_files_has_no_quota(tmp_path):
    assert cgroup_quota(tmp_path) == math.inf


@pytest.mark.parametrize(
    ("affinity", "quota", "expected"),
    [(64, 2, 2), (2, 64, 2), (64, 1.5, 2), (64, 0.2, 1), (6, None, 6)],
)
def test_processors_are_the_smaller_of_affinity_and_quota(
    tmp_path, monkeypatch, affinity, quota, expected
):
    monkeypatch.setattr(threads, "_affinity", lambda: affinity)
    limit = f"{int(quota * 100000)} 100000" if quota else "max 100000"
    root = host(tmp_path, "0::/a\n", [V2_OWN], {f"{V2}/a": limit})

    assert count_processors(root) == expected


@pytest.fixture
def eight(monkeypatch):
    monkeypatch.setattr(threads, "count_processors", lambda: 8)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    for name in thread_variables(1):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("said", "expected"), [("3", 3), ("4,2", 4), ("64", 64), ("0", 8), ("many", 8), ("", 8)]
)
@pytest.mark.usefixtures("eight")
def test_omp_num_threads_of_the_user_wins(monkeypatch, said, expected):
    monkeypatch.setenv("OMP_NUM_THREADS", said)

    assert count_threads() == expected


@pytest.mark.parametrize(("load", "expected"), [(0.2, 8), (5.1, 3), (8.0, 1), (40.0, 1)])
@pytest.mark.usefixtures("eight")
def test_short_work_takes_idle_processors(monkeypatch, load, expected):
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))

    assert count_idle_threads() == expected


@pytest.mark.usefixtures("eight")
def test_environment_is_set_where_the_user_left_it_open(monkeypatch):
    monkeypatch.setenv("MKL_NUM_THREADS", "5")

    limit_threads()

    assert [os.environ[name] for name in thread_variables(8)] == ["8", "5", "8", "8"]


@pytest.mark.usefixtures("eight")
def test_description_names_what_limits(monkeypatch):
    monkeypatch.setattr(threads, "_affinity", lambda: 8)
    monkeypatch.setattr(threads, "cgroup_quota", lambda: 8.0)
    assert describe_threads() == "8 of 8 processors"
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    assert describe_threads() == "8 of 64 processors (affinity and cgroup)"
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert describe_threads() == "3 (set by OMP_NUM_THREADS)"


COUNT = (
    "import json; from pipeline.workers.threads import *; limit_threads(); import os;"
    "print(json.dumps([count_processors(), os.environ['RAYON_NUM_THREADS']]))"
)


def counted(*prefix, enter=None):
    """Return what a new process counts that is started with a prefix."""
    environment = {n: v for n, v in os.environ.items() if n not in thread_variables(1)}
    answer = subprocess.run(
        [*prefix, sys.executable, "-c", COUNT],
        env=environment,
        preexec_fn=enter,
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    return json.loads(answer.stdout)


@pytest.mark.skipif(
    shutil.which("taskset") is None, reason="taskset is missing: apt-get install util-linux"
)
def test_affinity_of_taskset_is_obeyed():
    core = str(min(os.sched_getaffinity(0)))

    assert counted("taskset", "-c", core) == [1, "1"]


@pytest.fixture
def cgroup_of_one():
    """Yield a cgroup that may use one processor, in whichever hierarchy lets us make one."""
    name = f"threads-{uuid.uuid4().hex[:8]}"
    files = {"cpu.max": "100000 100000", "cpu.cfs_quota_us": "100000"}
    for parent in (*threads._folders(Path("/")),):
        folder = parent / name
        try:
            folder.mkdir()
        except OSError:
            continue
        for file, limit in files.items():
            try:
                (folder / file).write_text(limit)
            except OSError:
                continue
            yield folder
            folder.rmdir()
            return
        folder.rmdir()
    pytest.skip("no cgroup can be made here")


def test_real_cgroup_is_obeyed(cgroup_of_one):
    procs = cgroup_of_one / "cgroup.procs"

    def enter():
        procs.write_text(str(os.getpid()))

    assert counted(enter=enter) == [1, "1"]
