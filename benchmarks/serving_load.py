"""A student server in a process of its own, and clients that ask it without a pause."""

import http.client
import json
import multiprocessing
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

TEXT = "a moving and beautifully shot film that never quite finds its own two feet"
"""16 tokens in MiniLM's vocabulary."""
BODY = json.dumps({"texts": [TEXT]})
MIB = 1024**2


class Server:
    """A server process, with its listening socket where another may share it."""

    def __init__(
        self, runs: Path, name: str | None, *options: str, listening: socket.socket | None = None
    ) -> None:
        where = ["--port", "0"]
        if listening is not None:
            where = ["--fd", str(listening.fileno())]
        names = [] if name is None else [name]
        command = [sys.executable, "-m", "flows.cli.main", "serve", *names]
        command += ["--runs-dir", str(runs)]
        self._process = subprocess.Popen(
            [*command, *where, *options],
            stderr=subprocess.PIPE,
            text=True,
            pass_fds=[listening.fileno()] if listening is not None else [],
        )
        self.port, is_serving = 0, False
        assert self._process.stderr is not None
        for line in self._process.stderr:
            event = json.loads(line) if line.startswith("{") else {}
            self.port = event.get("port") or self.port
            is_serving = is_serving or event.get("event") == "serving"
            if self.port and is_serving:
                break
        self._reader = multiprocessing.get_context("fork").Process(target=self._drain_log)
        self._reader.start()

    def _drain_log(self) -> None:
        assert self._process.stderr is not None
        for _ in self._process.stderr:
            pass

    def __enter__(self) -> "Server":
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


def load(
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
        "p50_ms": p50(times),
        "p99_ms": round(sorted(times)[int(0.99 * len(times))], 3) if times else None,
        "per_second": round(len(times) / elapsed, 1),
    }


def ask(connection: http.client.HTTPConnection, name: str) -> tuple[int, bytes]:
    """Return status and content of one request."""
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
            status, content = ask(connection, name)
            if status != 200:
                failures.append(f"{status} {content[:100]!r}")
        except (OSError, http.client.HTTPException) as error:
            failures.append(repr(error))
            connection.close()
        times.append(1000 * (time.perf_counter() - started))
    results.put((times, failures))


def p50(times: list[float]) -> float:
    """Return the median."""
    return round(statistics.median(times), 3) if times else float("nan")
