"""A runs folder's contents: runs, finished stages, half-written folders, and what is unknown.

Nothing is known by its place alone. A run has a report that names its folder, a finished stage has
a record. Everything else is left alone.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout
from pydantic import BaseModel, ValidationError

from pipeline.chain.stage_names import STAGES
from pipeline.errors import InputError
from pipeline.release.challenge import LAST
from pipeline.release.registry import REPORT
from pipeline.store.stage import RECORD
from pipeline.store.store import lock_of

OWN_LOCK = ".gc.lock"
TRASH = ".removed.partial"
"""Folder of what is being removed; by its end, backups leave it out."""

_NAME = r"[a-z0-9][a-z0-9-]*"
_RUN = re.compile(rf"(\d{{8}}-\d{{6}})-{_NAME}")
_STAGE = re.compile(r"[a-z][a-z-]*-[0-9a-f]{24}")
_HALF_A_RUN = re.compile(rf"\.\d{{8}}-\d{{6}}-{_NAME}\.[^.]*\.partial")
_KNOWN_FILES = re.compile(rf"mlflow\.db(-wal|-shm|-journal)?|\..*\.lock|{re.escape(LAST)}")
_PAGES = ("sweep.json", "comparison.json")

FoundKind = Literal["run", "stage", "half-written run", "half-written stage", "trash"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """One folder or file that may go."""

    kind: FoundKind
    path: Path
    used_s: float
    """Time of its last use, in seconds of Unix time."""
    student: str = ""
    """Name of a run's student."""

    @property
    def lock(self) -> Path | None:
        """Return the file that the writer of a stage locks."""
        if self.kind == "half-written stage":
            return lock_of(self.path.with_suffix(""))
        return lock_of(self.path) if self.kind == "stage" else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Inventory:
    """Contents of a runs folder."""

    root: Path
    found: tuple[Found, ...]
    others: tuple[Path, ...]
    """Everything else whose links lead to what is needed."""
    unknown: tuple[Path, ...]
    """Other entries of the folder, which this project did not write."""

    def of(self, kind: FoundKind) -> tuple[Found, ...]:
        """Return everything of one kind."""
        return tuple(each for each in self.found if each.kind == kind)


class _Report(BaseModel):
    run_id: str
    name: str


def list_contents(root: Path) -> Inventory:
    """Return the contents of a runs folder.

    Raises:
        InputError: when it is none.
    """
    listed = sorted(root.iterdir()) if root.is_dir() else []
    stages = sorted((root / STAGES).iterdir()) if (root / STAGES).is_dir() else []
    found, others, unknown = [], [], []
    for path in (*listed, *stages):
        known = _known(path, is_stage=path.parent != root)
        if known is not None:
            found.append(known)
        elif path != root / STAGES and not (path.parent == root and path.name == "mlartifacts"):
            others.append(path)
            if not _is_ours(path):
                unknown.append(path)
    if not found and not (root / STAGES).is_dir():
        raise InputError(
            f"{root} is not a folder of runs: it has neither a finished run nor {STAGES} in it. "
            "Give the runs_dir of the configs, with --runs-dir."
        )
    return Inventory(root=root, found=tuple(found), others=tuple(others), unknown=tuple(unknown))


def is_held(lock: Path) -> bool:
    """Return whether a process holds a lock, and leave the file as it is."""
    if not lock.exists():
        return False
    try:
        with FileLock(lock, timeout=0):
            return False
    except Timeout:
        return True


def last_use_s(stage: Path) -> float:
    """Return when a stage was last used: its record's time, or its lock's, in Unix seconds."""
    files = [path for path in (stage / RECORD, lock_of(stage)) if path.exists()]
    return max(path.stat().st_mtime for path in files)


def _known(path: Path, *, is_stage: bool) -> Found | None:
    if path.is_symlink() or not path.is_dir():
        return None
    if path.name == TRASH:
        return Found(kind="trash", path=path, used_s=0.0)
    if not is_stage:
        if _HALF_A_RUN.fullmatch(path.name):
            return Found(kind="half-written run", path=path, used_s=_newest_s(path))
        return _run(path)
    name = path.name.removesuffix(".partial")
    if not _STAGE.fullmatch(name):
        return None
    if name != path.name:
        return Found(kind="half-written stage", path=path, used_s=_newest_s(path))
    if not (path / RECORD).is_file():
        return None
    return Found(kind="stage", path=path, used_s=last_use_s(path))


def _run(path: Path) -> Found | None:
    matched = _RUN.fullmatch(path.name)
    if matched is None:
        return None
    try:
        report = _Report.model_validate_json((path / REPORT).read_bytes())
        made = datetime.strptime(matched[1], "%Y%m%d-%H%M%S").replace(tzinfo=UTC)
    except (OSError, ValidationError, ValueError):
        return None
    if report.run_id != path.name:
        return None
    return Found(kind="run", path=path, used_s=made.timestamp(), student=report.name)


def _is_ours(path: Path) -> bool:
    """Return whether the project wrote it; links are ours, as they are never removed."""
    if path.is_symlink() or _KNOWN_FILES.fullmatch(path.name):
        return True
    return any((path / page).is_file() for page in _PAGES)


def _newest_s(folder: Path) -> float:
    return max(path.lstat().st_mtime for path in (folder, *_below(folder)))


def _below(folder: Path) -> Iterator[Path]:
    yield from folder.rglob("*")
