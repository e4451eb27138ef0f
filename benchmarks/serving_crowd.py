"""Small requests beside clients that send as much as they may: are they still answered in time?

    python -m benchmarks.serving_crowd runs/latest/student [--seconds 20] [--out crowd.json]

Serves a bundle and measures small requests of two clients alone, and beside eight of
- `refused`: 52 texts of 20,000 characters, more than a request may have;
- `largest`: 64 texts with as many characters as a request may have;
- `tokens`: 64 texts that fill the model's longest input, and little more.
Then connections that send half a request are counted, and how many are open after their time.
Bars: p99 beside the eight at most 5 times p99 alone, no 504, at most 381 MiB resident.
"""

import argparse
import http.client
import json
import multiprocessing
import os
import shutil
import socket
import sys
import tempfile
import time
from collections import Counter
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from pathlib import Path

from benchmarks.serving_load import Server, load
from pipeline.release.bundle import seal_bundle

_NAME, _CROWD, _SMALL, _HALF = "student", 8, 2, 300
_BODIES = {
    "refused": ["x y " * 5000] * 52,
    "largest": ["x y " * 781] * 64,
    "tokens": ["good film " * 40] * 64,
}


def main() -> None:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("bundle", type=Path, help="student folder of a finished run")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each load")
    parser.add_argument("--out", type=Path, help="JSON file for the numbers")
    options = parser.parse_args()
    found: dict[str, object] = {"load_average": os.getloadavg()[0]}
    with tempfile.TemporaryDirectory(prefix="crowd-") as folder:
        given = ("--bundle", f"{_NAME}={_sealed(options.bundle, Path(folder))}", "--head-s", "2")
        with Server(Path(folder), None, *given) as server:
            for turn, kind in enumerate(("alone", "refused", "largest", "tokens", "alone again")):
                found[kind] = _measure(server, _BODIES.get(kind), options.seconds)
                print(turn, kind, found[kind], file=sys.stderr)
            found["half_sent_open"] = _half_sent(server.port)
    text = json.dumps(found, indent=2)
    print(text)
    if options.out:
        options.out.write_text(text + "\n")


def _sealed(bundle: Path, folder: Path) -> Path:
    """Return a sealed copy of a bundle."""
    copy = folder / "sealed"
    shutil.copytree(bundle, copy)
    seal_bundle(copy)
    return copy


def _measure(server: Server, texts: list[str] | None, seconds: float) -> dict[str, object]:
    """Return how small requests are answered beside a crowd that sends these texts."""
    context = multiprocessing.get_context("fork")
    stop, results = context.Event(), context.Queue()
    crowd = []
    if texts is not None:
        body = json.dumps({"texts": texts}).encode()
        crowd = [
            context.Process(target=_push, args=(server.port, body, stop, results))
            for _ in range(_CROWD)
        ]
    for each in crowd:
        each.start()
    time.sleep(1.0)  # the crowd is at work
    small = load(server.port, _NAME, clients=_SMALL, seconds=seconds)
    stop.set()
    statuses: Counter[str] = Counter()
    for _ in crowd:
        statuses.update(results.get())
    for each in crowd:
        each.join()
    memory = server.memory_mib()
    return {"small": small, "crowd": dict(statuses), "memory_mib": memory}


def _push(port: int, body: bytes, stop: Event, results: "Queue[Counter[str]]") -> None:
    """Send one body again and again; put how often each status was answered."""
    statuses: Counter[str] = Counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    while not stop.is_set():
        try:
            headers = {"content-type": "application/json"}
            connection.request("POST", f"/v2/models/{_NAME}/texts", body, headers)
            answer = connection.getresponse()
            answer.read()
            statuses[str(answer.status)] += 1
        except (OSError, http.client.HTTPException) as error:
            statuses[type(error).__name__] += 1
            connection.close()
    results.put(statuses)


def _half_sent(port: int) -> dict[str, int]:
    """Return how many of the connections with half a request are open at once and after a while."""
    opened = []
    for _ in range(_HALF):
        connection = socket.create_connection(("127.0.0.1", port))
        connection.sendall(b"POST /v2/models/student/texts HTTP/1.1\r\ncontent-")
        connection.setblocking(False)
        opened.append(connection)
    before = sum(map(_is_open, opened))
    time.sleep(4.0)
    return {"at_once": before, "after_4_s": sum(map(_is_open, opened))}


def _is_open(connection: socket.socket) -> bool:
    try:
        while connection.recv(4096):
            pass
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


if __name__ == "__main__":
    main()
