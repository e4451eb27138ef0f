"""Files with digests, written atomically, and the store of finished stages.

The name of a stage's folder is a digest of its settings, its inputs and the computing libraries'
versions. The stage is built under ``<key>.partial``, and renamed when its record is written. A
folder under its final name is therefore whole. A killed build leaves its partial folder, and the
next run continues from the checkpoints in it. The sha256 of every file is checked before a finished
folder is used again.

Records hold paths relative to their folder, so a store can be moved as a whole.
"""

import json
import logging
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from filelock import FileLock
from pydantic import TypeAdapter

from pipeline.errors import InputError
from pipeline.store.digests import sha256_json
from pipeline.store.files import make_readable, write_atomic
from pipeline.store.shared import SharedStages
from pipeline.store.stage import RECORD, Artifact, Stage, describe_files
from pipeline.store.step import Step

logger = logging.getLogger(__name__)

Facts = TypeVar("Facts")

# What a stage may leave in its partial folder for itself; never part of the result.
SCRATCH = "scratch"


def build_here(_name: str, build: Callable[[Path], Facts], folder: Path) -> Facts:
    """Return ``build(folder)``, computed in this process."""
    return build(folder)


class Builder(Protocol):
    """Runner of builds: ``builder(name, build, folder)`` returns ``build(folder)``."""

    def __call__(self, name: str, build: Callable[[Path], Facts], folder: Path, /) -> Facts:
        """Return ``build(folder)``."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Store:
    """The folder of finished stages, shared by all runs below one root."""

    root: Path
    builder: Builder = build_here
    """Where builds are run: in this process, or in a child."""
    shared: SharedStages | None = None
    """Where other machines have finished stages; None where this one is alone."""

    def ensure(self, step: Step[Facts]) -> Stage[Facts]:
        """Return the finished stage of a step, building it only where no sound one exists."""
        folder = self.root / f"{step.name}-{step.key}"
        with _in_use(folder):
            if step.again:
                shutil.rmtree(folder, ignore_errors=True)
            finished = self._find(step, folder)
            if finished is None:
                with self.shared.leased(folder.name) if self.shared else nullcontext():
                    finished = self._find(step, folder) if self.shared else None
                    finished = finished or self._build(step, folder)
        return _told(step, finished)

    def fetch(self, stages: Iterable[Stage[Any] | tuple[Stage[Any], ...] | None]) -> None:
        """Fetch a step's inputs where they are shared and another machine has made them.

        Raises:
            InputError: for one that is neither here nor shared.
        """
        for each in stages:
            if isinstance(each, tuple):
                self.fetch(each)
            elif each is not None:
                with _in_use(each.folder):
                    self._fetch(each)

    def find(self, step: Step[Facts], folder: str | None = None) -> Stage[Facts] | None:
        """Return the finished stage of a step, its digests checked; None where there is none.

        Args:
            step: Step that is not built here.
            folder: Name of a folder that another machine built for it, under a key of its own.
        """
        name = folder or f"{step.name}-{step.key}"
        if Path(name).name != name or not name.startswith(f"{step.name}-"):
            return None
        with _in_use(self.root / name):
            finished = self._find(step, self.root / name)
        return None if finished is None else _told(step, finished)

    def _fetch(self, stage: Stage[Any]) -> None:
        if (stage.folder / RECORD).is_file():
            return
        if self.shared is None or not self.shared.fetch(stage.folder):
            raise InputError(
                f"{stage.name}: {stage.folder} is not here. Every machine needs the same runs_dir, "
                "or shared_stages."
            )

    def _find(self, step: Step[Facts], folder: Path) -> Stage[Facts] | None:
        """Return a stage that is finished here, or elsewhere; let others have it."""
        finished = _load(step.name, folder, step.facts)
        if self.shared is not None and not step.again:
            if finished is None and self.shared.fetch(folder):
                finished = _load(step.name, folder, step.facts)
            elif finished is not None and not self.shared.holds(folder.name):
                self.shared.publish(folder)  # it was out of reach when the stage was built
        if finished is not None:
            logger.info("%s: nothing changed, using %s", step.name, folder.name)
        return finished

    def _build(self, step: Step[Facts], folder: Path) -> Stage[Facts]:
        finished = _build(step.name, folder, partial(self.builder, step.name, step.run), step.facts)
        if self.shared is not None:
            self.shared.publish(folder)
        return finished


@contextmanager
def _in_use(folder: Path) -> Iterator[None]:
    """Keep others from a stage's folder, and note when it was last used."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = lock_of(folder)
    with FileLock(lock):
        lock.touch()
        yield


def _told(step: Step[Facts], finished: Stage[Facts]) -> Stage[Facts]:
    """Log what is to be said of a stage whenever it is used; return it."""
    for line in step.said(finished.facts) if step.said else ():
        logger.info("%s", line)
    return finished


def lock_of(folder: Path) -> Path:
    """Return the file that is locked while a stage's folder is built or looked at."""
    return folder.with_name(f".{folder.name}.lock")


def _load(name: str, folder: Path, facts_type: type[Facts]) -> Stage[Facts] | None:
    """Return the finished stage, or None when it is missing or its files were changed."""
    if not (folder / RECORD).is_file():
        return None
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        artifacts = tuple(Artifact(**entry) for entry in record["artifacts"])
        facts = TypeAdapter(facts_type).validate_python(record["facts"])
        is_sound = describe_files(folder) == artifacts and record["digest"] == _digest(
            record["facts"], artifacts
        )
    except (ValueError, KeyError, TypeError):
        is_sound = False
    if not is_sound:
        logger.warning("%s: the files of %s do not match its record; building again", name, folder)
        shutil.rmtree(folder)
        return None
    return Stage(
        name=name,
        folder=folder,
        digest=record["digest"],
        facts=facts,
        artifacts=artifacts,
        seconds=record["seconds"],
        reused=True,
    )


def _build(
    name: str, folder: Path, build: Callable[[Path], Facts], facts_type: type[Facts]
) -> Stage[Facts]:
    """Build in the partial folder, write the record, rename."""
    unfinished = folder.with_name(f"{folder.name}.partial")
    unfinished.mkdir(exist_ok=True)
    keep_scratch(unfinished)
    logger.info("%s ...", name)
    started = time.monotonic()
    facts = build(unfinished)
    seconds = time.monotonic() - started
    shutil.rmtree(unfinished / SCRATCH, ignore_errors=True)
    make_readable(unfinished)
    artifacts = describe_files(unfinished)
    plain_facts = TypeAdapter(facts_type).dump_python(facts, mode="json")
    digest = _digest(plain_facts, artifacts)
    record = {
        "stage": name,
        "digest": digest,
        "seconds": round(seconds, 3),
        "facts": plain_facts,
        "artifacts": TypeAdapter(tuple[Artifact, ...]).dump_python(artifacts, mode="json"),
    }
    write_atomic(unfinished / RECORD, json.dumps(record, indent=2, ensure_ascii=False))
    unfinished.rename(folder)
    logger.info("%s: done in %.1f s", name, seconds)
    return Stage(
        name=name,
        folder=folder,
        digest=digest,
        facts=facts,
        artifacts=artifacts,
        seconds=seconds,
        reused=False,
    )


def keep_scratch(unfinished: Path) -> None:
    """Remove what a killed build wrote beside its scratch: it would become a part of the result."""
    for left in unfinished.iterdir():
        if left.is_dir() and left.name != SCRATCH:
            shutil.rmtree(left)
        elif not left.is_dir():
            left.unlink()


def _digest(plain_facts: object, artifacts: tuple[Artifact, ...]) -> str:
    return sha256_json([plain_facts, [(entry.path, entry.sha256) for entry in artifacts]])
