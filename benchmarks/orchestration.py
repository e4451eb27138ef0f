"""Cost of Prefect: the chain as a flow, against a run without it.

    python -m benchmarks.orchestration --pairs 3 --demo-seconds 412

Both run the preset first-run of prefect.yaml in processes of their own. They are timed from the
start of Python to the published run. They run in turn. The flow is `adapter-distill run` without a
server. It has a temporary Prefect server, a task per stage, a child process that builds, and
artifacts. The direct run is `adapter-distill run --without-prefect`. The cost of a flow hardly
depends on the length of the stages. It is printed in seconds, and as a fraction of a longer run.
The first flow, in which Prefect creates its database, is printed separately.

Last result, on two idle cores of a 2017 AMD EPYC (AVX2), where a demo takes 412 s:

    new database  119.6 s                     15.6 s, 3.8 % of a demo
    direct        100.1, 104.0, 110.0 s
    flow          119.8, 115.9, 114.8 s       11.8 s, 2.9 % of a demo

Another time, one pair: new database 130.8 s, direct 114.6 s, flow 117.3 s (3.9 % and 0.7 %).
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
WAYS = {"direct": ("--without-prefect",), "flow": ()}
"""Options of ``run``, by the way."""
DECIDED = (0, 3)
"""Exit codes of a run that came to a decision."""


def main() -> None:
    """Read the command line, and compare both ways."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--pairs", type=int, default=3, help="how often both are run")
    arguments.add_argument("--demo-seconds", type=float, default=412, help="what a demo takes")
    given = arguments.parse_args()
    compare(given.pairs, given.demo_seconds)


def compare(pairs: int, demo_seconds: float) -> None:
    """Time both ways in turn, and print what the flow costs."""
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as home:
        print(f"flow, with a new database: {time_once('flow', home):.1f} s", flush=True)
        for _ in range(pairs):
            for way in WAYS:
                seconds[way].append(time_once(way, home))
                print(f"{way}: {seconds[way][-1]:.1f} s", flush=True)
    direct, flow = (statistics.median(seconds[way]) for way in WAYS)
    print(
        json.dumps(
            {
                "direct_s": round(direct, 2),
                "flow_s": round(flow, 2),
                "difference_s": round(flow - direct, 2),
                "percent_of_a_demo": round(100 * (flow - direct) / demo_seconds, 2),
            },
            indent=2,
        )
    )


def time_once(way: str, home: str) -> float:
    """Return the seconds of one process, whose Prefect keeps its database in ``home``."""
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "PREFECT_HOME": home,
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        "PREFECT_LOGGING_LEVEL": "CRITICAL",
        "HF_HUB_OFFLINE": "1",
    }
    with tempfile.TemporaryDirectory() as runs:
        config = Path(runs) / "empty.toml"  # all that it says is given by --set
        config.touch()
        command = [sys.executable, "-m", "flows.cli.main", "run", str(config), *WAYS[way]]
        started = time.perf_counter()
        done = subprocess.run(
            [*command, *settings(Path(runs))],
            env=environment,
            check=False,
            stdout=subprocess.DEVNULL,
        )
        seconds = time.perf_counter() - started
    if done.returncode not in DECIDED:
        raise RuntimeError(f"the {way} run ended with the exit code {done.returncode}")
    return seconds


def settings(runs: Path) -> Iterator[str]:
    """Yield the preset first-run as overrides of a config."""
    entries = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    preset = next(entry for entry in entries if entry["name"] == "first-run")
    own = {"runs_dir": str(runs), "release.register_run": False}
    for key, value in (leaves(preset["parameters"]["config"]) | own).items():
        yield from ("--set", f"{key}={json.dumps(value)}")


def leaves(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the values of nested tables, by dotted keys."""
    found: dict[str, Any] = {}
    for name, value in table.items():
        key = f"{prefix}{name}"
        found |= leaves(value, f"{key}.") if isinstance(value, dict) else {key: value}
    return found


if __name__ == "__main__":
    main()
