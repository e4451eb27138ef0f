"""The process beside a server that watches the registry.

MLflow's client takes 100 MB and holds the interpreter while it works, at the requests' cost. It
therefore has its own process. It fetches the bundle of a new champion, checks every digest, and
writes a JSON line to its standard output. An empty line at each look shows the server that the
process lives. This write fails, and ends the process, when the server is gone.
"""

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import InputError
from pipeline.release.aliases import CHAMPION
from pipeline.release.registry import Registry, open_registry


@dataclass(frozen=True, kw_only=True, slots=True)
class Sighting:
    """A champion that was not there before, or why it could not be fetched."""

    name: str
    version: int = 0
    """0 where the registry names no champion."""
    folder: str = ""
    sha256: str = ""
    error: str = ""


async def sightings(
    names: tuple[str, ...], registry: str | None, runs_dir: Path, poll_s: float
) -> AsyncIterator[Sighting]:
    """Yield what a watching process sees, until cancelled; one that dies is started again."""
    order = json.dumps([names, registry, str(runs_dir), poll_s])
    while True:
        watcher = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "pipeline.serving.watch",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is the server's, which ends its watcher itself
        )
        try:
            if watcher.stdin is None or watcher.stdout is None:
                raise OSError("the watching process has no pipes")
            # Not an argument: a registry's URI may hold a password, and process lists are public.
            watcher.stdin.write(order.encode())
            watcher.stdin.close()
            async for line in watcher.stdout:
                if line.strip():
                    yield Sighting(**json.loads(line))
        finally:
            with contextlib.suppress(ProcessLookupError):
                watcher.terminate()
            await watcher.wait()
        yield Sighting(name=names[0], error="The process that watches the registry ended.")
        await asyncio.sleep(poll_s)


def watch(names: list[str], uri: str | None, runs_dir: Path, poll_s: float) -> None:
    """Write what is seen to standard output, for as long as somebody reads it."""
    registry: Registry | None = None
    seen: dict[str, int] = {}
    while True:
        for name in names:
            try:
                registry = registry or open_registry(uri, runs_dir)
                sighting = _look(registry, name, seen)
            except InputError as error:
                sighting = Sighting(name=name, error=str(error))
            if sighting is not None:
                _tell(sighting)
        sys.stdout.write("\n")
        sys.stdout.flush()
        time.sleep(poll_s)


def _look(registry: Registry, name: str, seen: dict[str, int]) -> Sighting | None:
    number = registry.alias(name, CHAMPION)
    if (number or 0) == seen.get(name):
        return None
    if number is None:
        seen[name] = 0
        return Sighting(name=name)
    version = registry.find(name, str(number))
    folder = registry.fetch(version)
    seen[name] = number
    return Sighting(name=name, version=number, folder=str(folder), sha256=version.bundle_sha256)


def _tell(sighting: Sighting) -> None:
    facts = {field: getattr(sighting, field) for field in Sighting.__slots__}
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
        watch(asked[0], asked[1], Path(asked[2]), asked[3])
    # Nobody reads any more; the interpreter would complain that it cannot flush.
    sys.stdout = None
