"""A finished stage and the files it consists of."""

from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from pipeline.store.digests import sha256_file

Facts_co = TypeVar("Facts_co", covariant=True)


RECORD = "record.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Artifact:
    """One file: its path relative to the folder of its record, its digest and its size."""

    path: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage(Generic[Facts_co]):
    """A finished stage: where its files are and the facts it found."""

    name: str
    folder: Path
    digest: str
    """sha256 over the facts and the files' digests: what a later stage depends on."""
    facts: Facts_co
    artifacts: tuple[Artifact, ...]
    seconds: float
    """Wall time of the attempt that finished, in seconds."""
    reused: bool
    """Whether it was finished before this run."""


def describe_files(folder: Path) -> tuple[Artifact, ...]:
    """Return every file below a folder with its digest, sorted by path, the record excepted."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return tuple(
        Artifact(
            path=path.relative_to(folder).as_posix(),
            sha256=sha256_file(path),
            size_bytes=path.stat().st_size,
        )
        for path in files
        if path != folder / RECORD
    )
