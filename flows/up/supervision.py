"""Supervision of the processes of `adapter-distill up`: one that ends by itself is restarted.

A killed worker or server is restarted, as containers are by their restart policy. Runs continue, or
can be retried. A process that keeps ending is restarted after growing pauses, without an end.
"""

import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from flows.up import services
from flows.up.services import Service

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0
_SOUND_AFTER_S = 120.0
"""Seconds after which a service that ends is restarted after the shortest pause."""
_LOOK_EVERY_S = 0.5


@dataclass(kw_only=True, slots=True)
class Running:
    """A service that was started."""

    service: Service
    process: "subprocess.Popen[bytes]"
    since: float = field(default_factory=time.monotonic)
    pause_s: float = _FIRST_PAUSE_S
    due: float | None = None
    """When it is started again; None while it runs."""


def supervise(running: Sequence[Running], logs: Path, log: Callable[[str], object]) -> NoReturn:
    """Keep services running until an exception, such as Ctrl-C's, ends it.

    Args:
        running: What was started.
        logs: Folder of their logs.
        log: Is given a line at every end.
    """
    while True:
        now = time.monotonic()
        for each in running:
            _look(each, now, logs, log)
        services.reap_orphans([each.process for each in running])
        time.sleep(_LOOK_EVERY_S)


def _look(each: Running, now: float, logs: Path, log: Callable[[str], object]) -> None:
    name = each.service.name
    if each.due is None:
        code = each.process.poll()
        if code is None:
            return
        # Whatever it left of its session would hold its port.
        services.stop([each.process])
        if now - each.since > _SOUND_AFTER_S:
            each.pause_s = _FIRST_PAUSE_S
        each.due = now + each.pause_s
        log(
            f"{name} ended by itself (exit code {code}): started again in {each.pause_s:.0f} s. "
            f"{logs / name}.log says why."
        )
    elif now >= each.due:
        each.process = services.start(each.service, logs)
        each.since, each.due = now, None
        each.pause_s = min(2 * each.pause_s, _LONGEST_PAUSE_S)
