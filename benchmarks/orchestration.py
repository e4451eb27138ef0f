"""What Prefect costs: the chain as a flow, against the same stages called directly.

    python -m benchmarks.orchestration --pairs 3 --demo-seconds 412

Both are processes of their own, from the start of Python to the published run, on the preset
first-run of prefect.yaml; after each other, in turn. The flow is what `adapter-distill run` does
without a server: a temporary Prefect server, a task a stage, a child process that builds, and
artifacts. Its cost hardly depends on how long the stages take, so it is told in seconds, and as a
part of a longer run. The first flow of all, in which Prefect creates its database, is told apart.

Last result, on two idle cores of a 2017 AMD EPYC (AVX2), where a demo takes 412 s:

    new database  119.6 s                     15.6 s, 3.8 % of a demo
    direct        100.1, 104.0, 110.0 s
    flow          119.8, 115.9, 114.8 s       11.8 s, 2.9 % of a demo

Another time, one pair: new database 130.8 s, direct 114.6 s, flow 117.3 s: 3.9 % and 0.7 %.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from pipeline.config import RunConfig
from pipeline.workers.importing import without_collection

ROOT = Path(__file__).parents[1]
WAYS = ("direct", "flow")


def main() -> None:
    """Read the command line, and run one way or both."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--pairs", type=int, default=3, help="how often both are run")
    arguments.add_argument("--demo-seconds", type=float, default=412, help="what a demo takes")
    arguments.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    arguments.add_argument("--runs", type=Path, help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.way:
        run(given.way, given.runs)
    else:
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
    command = [sys.executable, "-m", "benchmarks.orchestration", "--way", way, "--runs"]
    with tempfile.TemporaryDirectory() as runs:
        started = time.perf_counter()
        subprocess.run([*command, runs], env=environment, check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - started


def run(way: str, runs: Path) -> None:
    """Run the preset first-run as a flow, or stage by stage."""
    entries = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    preset = next(entry for entry in entries if entry["name"] == "first-run")
    config = RunConfig.model_validate(preset["parameters"]["config"] | {"runs_dir": runs})
    config = config.model_copy(
        update={"release": config.release.model_copy(update={"register_run": False})}
    )
    if way == "flow":
        from flows.cli.terminal import beside_imports

        with beside_imports(verbose=False) as wait:  # as the command does it
            from flows.chain import adapter_to_student

            wait()
            adapter_to_student(config)
    else:
        call_directly(config)


def call_directly(config: RunConfig) -> None:
    """Call what the tasks wrap, in this process."""
    with without_collection():  # as the command does it
        from prefect import Task

        from flows import chain
        from pipeline.report.publish import publish
        from pipeline.store.store import Store

    for name, value in list(vars(chain).items()):
        if isinstance(value, Task):
            setattr(chain, name, value.fn)
    store = Store(root=config.runs_dir / chain.STAGES)
    finished = chain.last_value(chain.chain_stages(store, config))
    decision = chain.decide(
        finished.evaluation.facts,
        finished.benchmark.facts,
        config.gate,
        main_metric="accuracy",
        shipped_arm=finished.shipped_arm,
    )
    publish(config, finished, decision)


if __name__ == "__main__":
    main()
