"""Logs of `adapter-distill up`: the services append to them, and nobody else cuts them.

A log that is too large keeps its newest part as ``NAME.log.1`` and begins anew. One that nobody
wrote to for long is emptied. The file itself stays, since a service may hold it open.
"""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import InputError
from pipeline.retention.settings import Retention
from pipeline.store.files import write_atomic

_UP_LOCK = ".up.lock"


@dataclass(frozen=True, kw_only=True, slots=True)
class LongLog:
    """A log that is to be cut, or an old part of one."""

    path: Path
    cut_bytes: int
    """Bytes that go."""
    is_old: bool
    """Whether nobody wrote to it lately, so that all of it goes."""


def find_long_logs(asked: Retention, now_s: float) -> tuple[LongLog, ...]:
    """Return the logs of the state folder that are too old or too large.

    Raises:
        InputError: when `adapter-distill up` never ran in that folder.
    """
    if asked.state is None:
        return ()
    if not (asked.state / _UP_LOCK).is_file():
        raise InputError(
            f"{asked.state} is not a state folder: `adapter-distill up` never ran in it. Give its "
            "state folder with --state."
        )
    most = asked.keep_log_mb * 1_000_000
    found = []
    # In this order an old part goes before a new one takes its place.
    for path in sorted((asked.state / "logs").glob("*.log*"), reverse=True):
        if not path.is_file() or path.is_symlink() or path.suffix not in (".log", ".1"):
            continue
        size, written_s = path.stat().st_size, path.stat().st_mtime
        is_old = written_s < now_s - asked.keep_s
        cut = size if is_old else size - most
        if cut > 0 and (is_old or path.suffix == ".log"):
            found.append(LongLog(path=path, cut_bytes=cut, is_old=is_old))
    return tuple(found)


def cut_log(log: LongLog) -> None:
    """Cut a log; its newest part is whole in one of its two files at any time."""
    with contextlib.suppress(FileNotFoundError):
        if log.path.suffix != ".log":
            log.path.unlink()
            return
        if not log.is_old:
            with log.path.open("rb") as stream:
                stream.seek(log.cut_bytes)
                write_atomic(log.path.with_name(f"{log.path.name}.1"), stream.read())
        os.truncate(log.path, 0)
