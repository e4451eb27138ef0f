import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading

import httpx
import pytest

from pipeline.release.bundle import seal_bundle
from pipeline.serving.application import make_application
from pipeline.serving.metrics import ServerMetrics
from pipeline.serving.protocol import Plane, Student
from pipeline.serving.settings import ServeSettings
from pipeline.serving.slots import install, load_fixed, make_slot


@pytest.fixture(scope="session")
def sealed(write_words_bundle, tmp_path_factory):
    """``sealed(seed, kind="texts")``: a sealed bundle that no test may change."""
    folders = {}

    def sealed(seed=0, *, kind="texts"):
        key = seed, kind
        if key not in folders:
            folder = tmp_path_factory.mktemp("sealed") / "student"
            folders[key] = write_words_bundle(folder, seed=seed, kind=kind)
            seal_bundle(folders[key])
        return folders[key]

    return sealed


@pytest.fixture
def serving(sealed):
    """``async with serving(**settings) as (client, plane, metrics)``: without a process.

    ``kind`` serves the one that finds entities or answers; ``bundle`` any other one.
    """

    @contextlib.asynccontextmanager
    async def serving(*, kind="texts", bundle=None, **changes):
        bundle = bundle or sealed(kind=kind)
        settings = ServeSettings(bundles={"tiny": bundle}, threads=1, **changes)
        metrics = ServerMetrics()
        slot = make_slot("tiny", settings, metrics)
        install(slot, load_fixed(bundle, threads=1), metrics)
        plane = Plane([Student(slot, settings)])
        answering = asyncio.create_task(slot.batcher.run())
        transport = httpx.ASGITransport(make_application(plane, settings, metrics))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            yield client, plane, metrics
        answering.cancel()
        slot.batcher.close()

    return serving


class Running:
    """A server process and what it logged."""

    def __init__(self, *options, pass_fds=()):
        command = [sys.executable, "-m", "flows.cli.main", "serve", *map(str, options)]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, pass_fds=pass_fds, env=environment
        )
        self.events = []
        self._changed = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stderr:
            with self._changed:
                self.events.append(json.loads(line) if line.startswith("{") else {"event": line})
                self._changed.notify_all()

    def wait_for(self, event, **facts):
        """Return the first such event."""

        def found():
            wanted = ({"event": event} | facts).items()
            return next((each for each in self.events if wanted <= each.items()), None)

        with self._changed:
            assert self._changed.wait_for(found, timeout=60), self.events
            return found()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


@pytest.fixture
def start():
    """``start(*options)``: a running server."""
    with contextlib.ExitStack() as stack:

        def start(*options, **more):
            running = Running(*options, **more)
            stack.callback(running.process.wait, 60)
            stack.callback(running.process.kill)
            return running

        yield start
