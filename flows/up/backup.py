"""Backups of a state folder: one file with everything that `adapter-distill up` keeps in it.

It may be taken while everything runs. Databases are copied first, by SQLite itself, and files after
them: whatever a database names is then in the backup. Finished stages and runs never change.
Half-written files and logs are left out.

A backup is a tar file; its last member holds the digest of every other.
"""

import contextlib
import hashlib
import io
import json
import os
import re
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Literal

from pydantic import BaseModel, ValidationError

from pipeline.errors import InputError
from pipeline.store.files import new_folder

_CONTENTS = "backup.json"
_LEFT_OUT = ("logs",)
_HALF_WRITTEN = re.compile(r".*(\.partial|\.lock|-wal|-shm|-journal)")
_SQLITE = b"SQLite format 3\0"
_PACKAGES = ("adapter-distill", "prefect", "mlflow-skinny")
"""Packages whose databases and files are in a backup."""
_BUSY_S = 60.0
_CHUNK = 1 << 20


class Contents(BaseModel, extra="forbid"):
    """Table of contents of a backup."""

    format: Literal[1] = 1
    """Version of this table."""
    state: str
    """State folder that the backup was taken of; databases name files by their whole paths."""
    versions: dict[str, str]
    """Versions of the packages that wrote what is in it."""
    files: dict[str, str]
    """SHA-256 of every file, by its path in the state folder."""
    links: dict[str, str]
    """Target of every symbolic link, by its path in the state folder."""


def write_backup(state: Path, file: Path) -> Contents:
    """Write a backup of a state folder, which may be in use, as a new file.

    Raises:
        InputError: when the folder is no state folder, or the file exists or is inside of it.
    """
    # Path.resolve raises where links lead in a circle.
    state, file = Path(os.path.realpath(state)), Path(os.path.realpath(file))
    if not any((state / name).is_dir() for name in ("prefect", "runs")):
        raise InputError(
            f"{state} is not the state folder of an installation: it holds neither prefect nor "
            "runs. Give the state folder of `adapter-distill up` with --state."
        )
    if file.is_relative_to(state) or file.exists() or not file.parent.is_dir():
        raise InputError(
            f"{file}: expected a new file in a folder that exists, outside of {state}. Give "
            "another path."
        )
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    partial = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
                contents = _write(state, archive)
            stream.flush()
            os.fsync(stream.fileno())
        os.link(partial, file)  # unlike a rename, it replaces nothing
    finally:
        partial.unlink(missing_ok=True)
    return contents


def restore_backup(file: Path, state: Path) -> Contents:
    """Make the state folder that a backup was taken of, whole or not at all.

    Raises:
        InputError: when the folder exists or is another one, the backup is damaged, or what is
            installed is older than what wrote it.
    """
    state = Path(os.path.realpath(state))
    try:
        with tarfile.open(file, mode="r:") as archive:
            contents = _read_contents(archive, file)
            _check_place(contents, state)
            _check_versions(contents)
            with new_folder(state, is_public=False) as folder:
                _extract(archive, contents, folder, file)
    except (tarfile.TarError, EOFError, UnicodeError) as error:
        raise _damaged(file, str(error)) from error
    return contents


def _write(state: Path, archive: tarfile.TarFile) -> Contents:
    files, links = {}, {}
    listed = list(_listed(state))
    databases = [path for path in listed if _is_database(path)]
    for path in databases:
        with tempfile.TemporaryFile() as copy:
            _copy_database(path, copy)
            name = path.relative_to(state).as_posix()
            files[name] = _add(archive, name, copy, path.stat())
    for path in listed:
        name = path.relative_to(state).as_posix()
        if path.is_symlink():
            links[name] = str(path.readlink())
            if _leads_out(name, links[name]):
                raise InputError(
                    f"The link {path} leads out of the state folder, to {links[name]}, which is "
                    "not in a backup. Remove the link, and back up what it leads to by itself."
                )
        elif path not in databases:
            with contextlib.suppress(FileNotFoundError), path.open("rb") as stream:
                files[name] = _add(archive, name, stream, os.fstat(stream.fileno()))
    contents = Contents(state=str(state), versions=_versions(), files=files, links=links)
    text = contents.model_dump_json(indent=1).encode()
    info = tarfile.TarInfo(_CONTENTS)
    info.size = len(text)
    archive.addfile(info, io.BytesIO(text))
    return contents


def _listed(state: Path) -> Iterator[Path]:
    """Yield the files and links that belong into a backup."""
    for folder, folders, names in os.walk(state):
        here = Path(folder)
        is_top = here == state
        links = [each for each in folders if (here / each).is_symlink()]
        folders[:] = sorted(
            each
            for each in folders
            if each not in links
            and not _HALF_WRITTEN.fullmatch(each)
            and not (is_top and each in _LEFT_OUT)
        )
        for name in sorted([*names, *links]):
            path = here / name
            if not _HALF_WRITTEN.fullmatch(name) and (path.is_symlink() or path.is_file()):
                yield path


def _is_database(path: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        if path.is_symlink() or path.suffix != ".db":
            return False
        with path.open("rb") as stream:
            return stream.read(len(_SQLITE)) == _SQLITE
    return False


def _copy_database(path: Path, copy: BinaryIO) -> None:
    """Write a consistent copy of a database that others may be writing to."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / path.name
        with (
            contextlib.closing(sqlite3.connect(path, timeout=_BUSY_S)) as source,
            contextlib.closing(sqlite3.connect(target)) as written,
        ):
            source.backup(written)
            (found,) = written.execute("PRAGMA integrity_check").fetchone()
        if found != "ok":
            raise InputError(f"The database {path} is damaged: {found}. No backup was written.")
        with target.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                copy.write(chunk)
    copy.seek(0)


class _Hashing(io.RawIOBase):
    """A stream that is read once, and its digest."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self.sha256 = stream, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes."""
        chunk = self._stream.read(size)
        self.sha256.update(chunk)
        return chunk


def _add(archive: tarfile.TarFile, name: str, stream: BinaryIO, stat: os.stat_result) -> str:
    """Add as many bytes as a file has now, for it may grow; return their digest."""
    info = tarfile.TarInfo(name)
    info.size = os.fstat(stream.fileno()).st_size
    info.mode, info.mtime = stat.st_mode & 0o777, int(stat.st_mtime)
    hashing = _Hashing(stream)
    archive.addfile(info, hashing)
    return hashing.sha256.hexdigest()


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def _read_contents(archive: tarfile.TarFile, file: Path) -> Contents:
    try:
        stream = archive.extractfile(_CONTENTS)
        return Contents.model_validate(json.load(stream) if stream else None)
    except (KeyError, ValueError, ValidationError) as error:
        raise _damaged(file, "its table of contents is missing or damaged") from error


def _check_place(contents: Contents, state: Path) -> None:
    if contents.state != str(state):
        raise InputError(
            f"The backup was taken of {contents.state}, and its databases name files there: it "
            f"cannot be restored as {state}. Give --state {contents.state}."
        )


def _check_versions(contents: Contents) -> None:
    installed = _versions()
    for package, wrote in contents.versions.items():
        has = installed.get(package)
        if has is None or _numbers(has) < _numbers(wrote):
            raise InputError(
                f"The backup was written with {package} {wrote}, and {has or 'none'} is installed, "
                "which may not read it. Install that version or a newer one, and restore again."
            )


def _numbers(text: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", text)][:3]


def _extract(archive: tarfile.TarFile, contents: Contents, folder: Path, file: Path) -> None:
    """Write what the table of contents lists, and nothing else; links last, so none is followed."""
    for name, digest in contents.files.items():
        target = _inside(folder, name, file)
        try:
            stream = archive.extractfile(member := archive.getmember(name))
        except KeyError as error:
            raise _damaged(file, f"{name} is missing") from error
        if stream is None or not member.isreg():
            raise _damaged(file, f"{name} is no file")
        target.parent.mkdir(parents=True, exist_ok=True)
        sha256 = hashlib.sha256()
        with target.open("xb") as out:
            while chunk := stream.read(_CHUNK):
                sha256.update(chunk)
                out.write(chunk)
        if sha256.hexdigest() != digest:
            raise _damaged(file, f"{name} differs from its digest")
        target.chmod(member.mode & 0o777)
        os.utime(target, (member.mtime, member.mtime))
    for name, leads_to in contents.links.items():
        link = _inside(folder, name, file)
        if _leads_out(name, leads_to):
            raise _damaged(file, f"{name} leads out of the state folder, to {leads_to}")
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(leads_to)


def _inside(folder: Path, name: str, file: Path) -> Path:
    """Return a path below the folder; refuse one that leads out of it."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise _damaged(file, f"{name!r} leads out of the state folder")
    return folder / path


def _leads_out(link: str, leads_to: str) -> bool:
    target = PurePosixPath(os.path.normpath(PurePosixPath(link).parent / leads_to))
    return target.is_absolute() or target.parts[:1] == ("..",)


def _damaged(file: Path, why: str) -> InputError:
    return InputError(
        f"{file} is not a backup, or is damaged: {why}. Nothing was restored. Take another backup."
    )
