"""The server under load: what it costs, whether it drops a request, how large it gets.

    python -m benchmarks.serving runs/latest [--out docs/serving.json]

Registers the run's student twice in a registry of its own, serves it, and measures
- HTTP text requests of one client against the same predictions in this process, in turns;
- throughput of 8 clients, with and without micro-batching;
- failed requests while the champion moves, and while one server takes over from another;
- resident memory, and the time to load.
Clients are plain keep-alive sockets in processes of their own. Timings depend on who else uses the
machine; what failed does not.
"""

import argparse
import http.client
import json
import os
import shutil
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.serving_load import TEXT, Server, ask, load, p50
from pipeline.inference.classifier import read_runtime
from pipeline.release.aliases import CHAMPION, PREVIOUS
from pipeline.release.bundle import open_bundle, seal_bundle
from pipeline.release.promotion import promote
from pipeline.release.register import register
from pipeline.release.registry import open_registry
from pipeline.release.report_view import read_report

_BLOCKS, _CALLS = 10, 40
"""Blocks of calls in this process and over HTTP, in turns."""


def main() -> None:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each load")
    parser.add_argument("--moves", type=int, default=20, help="of the champion under load")
    parser.add_argument("--out", type=Path, help="JSON file for the numbers")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="serving-") as folder:
        found = _measure(options, Path(folder))
    text = json.dumps(found, indent=2)
    print(text)
    if options.out:
        options.out.write_text(text + "\n")


def _measure(options: argparse.Namespace, folder: Path) -> dict[str, object]:
    name = read_report(options.run / "report.json").name
    runs = folder / "runs"
    for number in (1, 2):
        run = folder / f"run-{number}"
        shutil.copytree(options.run, run, symlinks=True)
        card = run / "student" / "README.md"
        content = card.read_text() + "\n" * number  # so that the two bundles differ
        card.unlink()
        card.write_text(content)
        seal_bundle(run / "student")
        register(open_registry(None, runs), run)
    registry = open_registry(None, runs)
    promote(registry, name, "1")

    found: dict[str, object] = {"machine": _machine()}
    bundle = folder / "run-1" / "student"
    found["load_s"] = _load_seconds(bundle)
    with Server(runs, name) as server:
        found["http_against_in_process"] = _against_in_process(bundle, server.port, name)
        print(found, file=sys.stderr)
        found["http_1_client"] = load(server.port, name, clients=1, seconds=options.seconds)
        found["http_8_clients"] = load(server.port, name, clients=8, seconds=options.seconds)
        found["memory_mib"] = server.memory_mib()
    with Server(runs, name, "--no-batching") as server:
        found["http_8_clients_unbatched"] = load(
            server.port, name, clients=8, seconds=options.seconds
        )
    print(found, file=sys.stderr)

    def move() -> int:
        for turn in range(options.moves):
            registry.point(name, PREVIOUS, 1 + turn % 2)
            registry.point(name, CHAMPION, 2 - turn % 2)
            server.wait_for_version(2 - turn % 2)
        return options.moves

    with Server(runs, name, "--poll", "0.1") as server:
        found["champion_moves"] = load(server.port, name, clients=4, during=move)
        found["memory_after_moves_mib"] = server.memory_mib()
    found["takeover"] = _takeover(runs, name)
    return found


def _load_seconds(bundle: Path) -> float:
    loads = []
    for _ in range(3):
        started = time.perf_counter()
        open_bundle(bundle)
        loads.append(time.perf_counter() - started)
    return round(min(loads), 3)


def _against_in_process(bundle: Path, port: int, name: str) -> dict[str, object]:
    """Time one client's requests and the same predictions in this process, in turns.

    Whatever else the machine does falls on both alike; medians are compared block by block.
    """
    # As many threads as the server's: with 0, onnxruntime would also bind each to a core.
    classifier = open_bundle(bundle, threads=len(os.sched_getaffinity(0)))
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def predict() -> None:
        classifier.outputs([(TEXT,)])

    def request() -> None:
        answer = ask(connection, name)
        if answer[0] != 200:
            raise SystemExit(f"the server answered {answer}")

    inside, over_http = [], []
    for _ in range(_BLOCKS):
        inside.append(_block(predict))
        over_http.append(_block(request))
    gaps = [p50(http) - p50(own) for own, http in zip(inside, over_http, strict=True)]
    return {
        "model": read_runtime(bundle).file,
        "tokens": len(classifier.tokenizer.encode(TEXT).ids),
        "in_process_p50_ms": p50([ms for block in inside for ms in block]),
        "http_p50_ms": p50([ms for block in over_http for ms in block]),
        "added_ms": round(statistics.median(gaps), 3),
        "added_ms_by_block": [round(gap, 2) for gap in sorted(gaps)],
    }


def _block(call: Callable[[], None]) -> list[float]:
    for _ in range(3):
        call()
    times = []
    for _ in range(_CALLS):
        started = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - started))
    return times


def _takeover(runs: Path, name: str) -> dict[str, object]:
    """Stop one server under load while another holds the same listening socket."""
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listening:
        port = listening.getsockname()[1]
        holder = Server(runs, name, listening=listening)
        codes: list[int] = []

        def hand_over() -> int:
            nonlocal holder
            for _ in range(3):
                successor = Server(runs, name, listening=listening)
                holder.stop()
                codes.append(holder.wait())
                holder = successor
            return len(codes)

        found = load(port, name, clients=4, during=hand_over)
        holder.stop()
        codes.append(holder.wait())
    return {**found, "exit_codes": codes}


def _machine() -> dict[str, object]:
    cpu = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line]
    return {
        "cpu": cpu[0].partition(":")[2].strip() if cpu else "unknown",
        "cores": len(os.sched_getaffinity(0)),
        "load_average": os.getloadavg()[0],
    }


if __name__ == "__main__":
    main()
