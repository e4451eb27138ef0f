"""The server under load: what it costs, whether it drops a request, how large it gets.

    python benchmarks/serving.py runs/latest [--out docs/serving.json]

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
import multiprocessing
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from pipeline.inference import read_runtime
from pipeline.release.bundle import open_bundle, seal_bundle
from pipeline.release.promotion import promote
from pipeline.release.register import register
from pipeline.release.registry import CHAMPION, PREVIOUS, open_registry
from pipeline.release.report_view import read_report

TEXT = "a moving and beautifully shot film that never quite finds its own two feet"
"""16 tokens in MiniLM's vocabulary."""
BODY = json.dumps({"texts": [TEXT]})
MIB = 1024**2
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
    with _Server(runs, name) as server:
        found["http_against_in_process"] = _against_in_process(bundle, server.port, name)
        print(found, file=sys.stderr)
        found["http_1_client"] = _load(server.port, name, clients=1, seconds=options.seconds)
        found["http_8_clients"] = _load(server.port, name, clients=8, seconds=options.seconds)
        found["memory_mib"] = server.memory_mib()
    with _Server(runs, name, "--no-batching") as server:
        found["http_8_clients_unbatched"] = _load(
            server.port, name, clients=8, seconds=options.seconds
        )
    print(found, file=sys.stderr)

    def move() -> int:
        for turn in range(options.moves):
            registry.point(name, PREVIOUS, 1 + turn % 2)
            registry.point(name, CHAMPION, 2 - turn % 2)
            server.wait_for_version(2 - turn % 2)
        return options.moves

    with _Server(runs, name, "--poll", "0.1") as server:
        found["champion_moves"] = _load(server.port, name, clients=4, during=move)
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
        classifier.logits([(TEXT,)])

    def request() -> None:
        answer = _ask(connection, name)
        if answer[0] != 200:
            raise SystemExit(f"the server answered {answer}")

    inside, over_http = [], []
    for _ in range(_BLOCKS):
        inside.append(_block(predict))
        over_http.append(_block(request))
    gaps = [_p50(http) - _p50(own) for own, http in zip(inside, over_http, strict=True)]
    return {
        "model": read_runtime(bundle).file,
        "tokens": len(classifier.tokenizer.encode(TEXT).ids),
        "in_process_p50_ms": _p50([ms for block in inside for ms in block]),
        "http_p50_ms": _p50([ms for block in over_http for ms in block]),
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


class _Server:
    """A server process, with its listening socket where another may share it."""

    def __init__(
        self, runs: Path, name: str, *options: str, listening: socket.socket | None = None
    ) -> None:
        where = ["--port", "0"]
        if listening is not None:
            where = ["--fd", str(listening.fileno())]
        command = [sys.executable, "-m", "flows.cli", "serve", name, "--runs-dir", str(runs)]
        self._process = subprocess.Popen(
            [*command, *where, *options],
            stderr=subprocess.PIPE,
            text=True,
            pass_fds=[listening.fileno()] if listening is not None else [],
        )
        self.port = 0
        assert self._process.stderr is not None
        for line in self._process.stderr:
            event = json.loads(line) if line.startswith("{") else {}
            self.port = event.get("port") or self.port
            if event.get("event") == "serving":
                break
        self._reader = multiprocessing.get_context("fork").Process(target=self._drain_log)
        self._reader.start()

    def _drain_log(self) -> None:
        assert self._process.stderr is not None
        for _ in self._process.stderr:
            pass

    def __enter__(self) -> "_Server":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.wait()

    def stop(self) -> None:
        """Tell it to stop."""
        self._process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        """Return its exit code."""
        code = self._process.wait(60)
        self._reader.terminate()
        return code

    def memory_mib(self) -> float:
        """Return its resident memory."""
        pages = int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1])
        return round(pages * os.sysconf("SC_PAGE_SIZE") / MIB, 1)

    def wait_for_version(self, version: int) -> None:
        """Return when it serves a version."""
        for _ in range(600):
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics") as answer:
                if f"}} {float(version)}\n" in "".join(
                    line
                    for line in answer.read().decode().splitlines(keepends=True)
                    if line.startswith("distill_model_version{")
                ):
                    return
            time.sleep(0.05)
        raise TimeoutError(f"version {version} was not served after 30 s")


def _takeover(runs: Path, name: str) -> dict[str, object]:
    """Stop one server under load while another holds the same listening socket."""
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listening:
        port = listening.getsockname()[1]
        holder = _Server(runs, name, listening=listening)
        codes: list[int] = []

        def hand_over() -> int:
            nonlocal holder
            for _ in range(3):
                successor = _Server(runs, name, listening=listening)
                holder.stop()
                codes.append(holder.wait())
                holder = successor
            return len(codes)

        found = _load(port, name, clients=4, during=hand_over)
        holder.stop()
        codes.append(holder.wait())
    return {**found, "exit_codes": codes}


def _load(
    port: int,
    name: str,
    *,
    clients: int,
    seconds: float = 0.0,
    during: Callable[[], int] | None = None,
) -> dict[str, object]:
    """Let clients ask one after the other, for some seconds or during a function."""
    context = multiprocessing.get_context("fork")
    stop, results = context.Event(), context.Queue()
    crowd = [
        context.Process(target=_client, args=(port, name, stop, results)) for _ in range(clients)
    ]
    started = time.perf_counter()
    for client in crowd:
        client.start()
    events = 0
    if during is None:
        time.sleep(seconds)
    else:
        events = during()
    stop.set()
    answers = [results.get() for _ in crowd]
    elapsed = time.perf_counter() - started
    for client in crowd:
        client.join()
    times = [each for answer in answers for each in answer[0]]
    failures = [each for answer in answers for each in answer[1]]
    return {
        "requests": len(times),
        "failed": len(failures),
        "failures": failures[:5],
        "events": events,
        "p50_ms": _p50(times),
        "p99_ms": round(sorted(times)[int(0.99 * len(times))], 3) if times else None,
        "per_second": round(len(times) / elapsed, 1),
    }


def _ask(connection: http.client.HTTPConnection, name: str) -> tuple[int, bytes]:
    headers = {"content-type": "application/json"}
    connection.request("POST", f"/v2/models/{name}/texts", BODY, headers)
    answer = connection.getresponse()
    return answer.status, answer.read()


def _client(port: int, name: str, stop: object, results: object) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    times, failures = [], []
    while not stop.is_set():
        started = time.perf_counter()
        try:
            status, content = _ask(connection, name)
            if status != 200:
                failures.append(f"{status} {content[:100]!r}")
        except (OSError, http.client.HTTPException) as error:
            failures.append(repr(error))
            connection.close()
        times.append(1000 * (time.perf_counter() - started))
    results.put((times, failures))


def _p50(times: list[float]) -> float:
    return round(statistics.median(times), 3) if times else float("nan")


def _machine() -> dict[str, object]:
    cpu = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line]
    return {
        "cpu": cpu[0].partition(":")[2].strip() if cpu else "unknown",
        "cores": len(os.sched_getaffinity(0)),
        "load_average": os.getloadavg()[0],
    }


if __name__ == "__main__":
    main()
