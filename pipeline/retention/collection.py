"""Removal of unneeded runs, stages and logs: planned, renamed, and only then deleted.

A folder is first renamed into a trash folder beside it. A run or a stage is therefore there as a
whole, or not at all. A crash leaves the trash, which the next removal empties. Runs go before
stages, so that no link of a run leads nowhere.
"""

import contextlib
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from filelock import FileLock, Timeout

from pipeline.chain.stage_names import PUBLISH_LOCK, STAGES
from pipeline.errors import InputError
from pipeline.release.registry import Registry
from pipeline.retention.inventory import (
    OWN_LOCK,
    TRASH,
    Found,
    Inventory,
    is_held,
    last_use_s,
    list_contents,
)
from pipeline.retention.logs import LongLog, cut_log, find_long_logs
from pipeline.retention.needed import find_needed
from pipeline.retention.registries import needed_runs, open_registries
from pipeline.retention.settings import Retention

_SECONDS_TO_WAIT = 60.0
_ORDER = ("run", "half-written run", "stage", "half-written stage", "trash")


@dataclass(frozen=True, kw_only=True, slots=True)
class Removal:
    """Plan of a removal: items to remove, and items to keep."""

    gone: tuple[tuple[Found, int], ...]
    """Runs and stages that go, each with its size in bytes."""
    logs: tuple[LongLog, ...]
    freed_bytes: int
    """Disk space that the removal frees: files that something else links to are not in it."""
    needed: tuple[tuple[Found, str], ...]
    """Everything that is old and stays, with the reason."""
    unknown: tuple[Path, ...]
    """Files and folders that are not this project's: they stay."""


def collect(asked: Retention, now_s: float) -> Removal:
    """Return what of a runs folder may go, and remove it where that is asked for.

    Args:
        asked: What is kept.
        now_s: Time of now, in seconds of Unix time.

    Raises:
        InputError: when the folder holds no runs, or its registry cannot be read.
    """
    logs = find_long_logs(asked, now_s)
    contents = list_contents(asked.runs)
    runs = contents.of("run")
    registries = open_registries(asked.registry, asked.runs, runs)
    students = sorted({run.student for run in runs})
    if not asked.remove:
        is_publishing = is_held(asked.runs / PUBLISH_LOCK)
        return _plan(contents, asked, registries, logs, now_s, is_publishing=is_publishing)
    with _alone(asked.runs):
        with _nothing_moves(asked.runs, registries, students):
            contents = list_contents(asked.runs)
            removal = _plan(contents, asked, registries, logs, now_s, is_publishing=False)
            moved = tuple(each for each in removal.gone if _move_away(each[0]))
        for folder in (asked.runs, asked.runs / STAGES):
            shutil.rmtree(folder / TRASH, ignore_errors=True)
        for log in logs:
            cut_log(log)
    return replace(removal, gone=moved)


def _plan(
    contents: Inventory,
    asked: Retention,
    registries: Sequence[Registry],
    logs: tuple[LongLog, ...],
    now_s: float,
    *,
    is_publishing: bool,
) -> Removal:
    students = sorted({run.student for run in contents.of("run")})
    registered: dict[str, str] = {}
    for registry in registries:
        registered |= needed_runs(registry, students)
    needed = find_needed(contents, asked, registered, now_s=now_s, is_publishing=is_publishing)
    gone = [each for each in contents.found if each.path not in needed]
    gone.sort(key=lambda each: _ORDER.index(each.kind))
    sizes, freed = _sizes([each.path for each in gone])
    return Removal(
        gone=tuple(zip(gone, sizes, strict=True)),
        logs=logs,
        freed_bytes=freed + sum(log.cut_bytes for log in logs),
        needed=tuple(
            (each, needed[each.path])
            for each in contents.found
            if each.path in needed and each.used_s < now_s - asked.keep_s
        ),
        unknown=contents.unknown,
    )


def _sizes(folders: Sequence[Path]) -> tuple[list[int], int]:
    """Return each folder's size, and the space that is free once all are gone, in bytes.

    A bundle's files are those of its stage, under a second name: they are free when both are gone.
    """
    sizes, names, left = [], Counter[tuple[int, int]](), {}
    for folder in folders:
        files = [path.lstat() for path in folder.rglob("*") if path.is_file()]
        sizes.append(sum(each.st_size for each in files))
        for each in files:
            key = (each.st_dev, each.st_ino)
            names[key] += 1
            left[key] = (each.st_nlink, each.st_size)
    freed = sum(size for key, (links, size) in left.items() if names[key] >= links)
    return sizes, freed


@contextlib.contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Let one removal work in a runs folder at a time."""
    try:
        with FileLock(root / OWN_LOCK, timeout=0):
            yield
    except Timeout:
        raise InputError(
            f"Something else removes runs of {root} now. Wait until it has ended, and start again."
        ) from None


@contextlib.contextmanager
def _nothing_moves(
    root: Path, registries: Sequence[Registry], students: Sequence[str]
) -> Iterator[None]:
    """Hold back promotions and new run folders for as long as the block lasts."""
    with contextlib.ExitStack() as locks:
        try:
            locks.enter_context(FileLock(root / PUBLISH_LOCK, timeout=_SECONDS_TO_WAIT))
            for registry in registries:
                for name in students:
                    locks.enter_context(registry.lock(name))
        except Timeout:
            raise InputError(
                f"A run is being published in {root}, or a student promoted, for more than "
                f"{_SECONDS_TO_WAIT:.0f} s. Nothing was removed. Try again later."
            ) from None
        yield


def _move_away(each: Found) -> bool:
    """Rename a folder into the trash beside it; tell whether nobody has begun to use it."""
    if each.kind == "trash":
        return True
    try:
        with FileLock(each.lock, timeout=0) if each.lock else contextlib.nullcontext():
            if each.kind == "stage" and last_use_s(each.path) > each.used_s:
                return False
            trash = each.path.parent / TRASH
            trash.mkdir(exist_ok=True)
            each.path.rename(Path(tempfile.mkdtemp(dir=trash)) / each.path.name)
    except (Timeout, FileNotFoundError):
        return False
    return True
