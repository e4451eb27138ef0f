"""Finished stages at a URI, for machines that share no disk: fetched from it, published to it.

The URI is whatever fsspec opens: ``s3://bucket/stages``, ``gs://...``, a mounted folder. A stage is
a folder there as it is here. Its record goes up last, so a folder without one is not finished. A
downloaded stage is checked against the digests in its record, like every stage that is used again.

A machine that builds a stage holds a lease on it: a file beside it, written anew now and then.
Others wait, and fetch the stage when it is there. A lease that stands still for two minutes is a
dead machine's. Where two machines take the same lease over at once, both build; nothing is lost.
"""

import contextlib
import logging
import shutil
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
from fsspec.spec import AbstractFileSystem

from pipeline.errors import InputError, UnreachableError, first_line
from pipeline.store.stage import RECORD

logger = logging.getLogger(__name__)

_SECONDS_OF_LEASE = 120.0
_SECONDS_BETWEEN_LOOKS = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class SharedStages:
    """The folder of finished stages at a URI."""

    uri: str
    lease_seconds: float = _SECONDS_OF_LEASE
    """A lease that is not renewed for so long is a dead machine's."""

    def holds(self, name: str) -> bool:
        """Return whether a stage is finished there."""
        with self._talking() as (files, root):
            return bool(files.exists(f"{root}/{name}/{RECORD}"))

    def fetch(self, folder: Path) -> bool:
        """Copy a finished stage to its local folder; return False where there is none."""
        if not self.holds(folder.name):
            return False
        arriving = folder.with_name(f".{folder.name}.arriving")
        shutil.rmtree(arriving, ignore_errors=True)
        with self._talking() as (files, root):
            there = f"{root}/{folder.name}"
            for path in files.find(there):
                local = arriving / path.partition(f"/{folder.name}/")[2]
                if not local.resolve().is_relative_to(arriving.resolve()):
                    raise InputError(f"{self.uri} holds {path}, which leads out of its stage.")
                local.parent.mkdir(parents=True, exist_ok=True)
                files.get_file(path, str(local))
        shutil.rmtree(folder, ignore_errors=True)
        arriving.rename(folder)
        logger.info("%s: fetched from %s", folder.name, self.uri)
        return True

    def publish(self, folder: Path) -> None:
        """Copy a finished stage there; its record last."""
        with self._talking() as (files, root):
            there = f"{root}/{folder.name}"
            if files.exists(there):  # left by a machine that died, or damaged
                files.rm(there, recursive=True)
            paths = sorted(path for path in folder.rglob("*") if path.is_file())
            paths.sort(key=lambda path: path == folder / RECORD)
            for path in paths:
                target = f"{there}/{path.relative_to(folder).as_posix()}"
                files.makedirs(target.rpartition("/")[0], exist_ok=True)
                files.put_file(str(path), target)

    @contextlib.contextmanager
    def leased(self, name: str) -> Iterator[None]:
        """Hold the lease on a stage; wait while another machine holds it and builds."""
        mine = uuid.uuid4().hex
        self._take(name, mine)
        ended = threading.Event()
        renewing = threading.Thread(target=self._renew, args=(name, mine, ended), daemon=True)
        renewing.start()
        try:
            yield
        finally:
            ended.set()
            renewing.join()
            with contextlib.suppress(UnreachableError), self._talking() as (files, root):
                files.rm_file(f"{root}/{name}.lease")

    def _take(self, name: str, mine: str) -> None:
        """Write a lease where there is none, or where nobody has renewed it."""
        seen, since = b"", time.monotonic()
        while True:
            with self._talking() as (files, root):
                lease = f"{root}/{name}.lease"
                try:
                    files.makedirs(root, exist_ok=True)
                    files.pipe_file(lease, f"{mine} 0".encode(), mode="create")
                    return
                except FileExistsError:
                    found = _content(files, lease)
                if found != seen:
                    if not seen:
                        logger.info("%s: another machine builds it", name)
                    seen, since = found, time.monotonic()
                elif time.monotonic() - since > self.lease_seconds:
                    logger.warning("%s: the machine that built it is gone", name)
                    with contextlib.suppress(FileNotFoundError):
                        files.rm_file(lease)
            time.sleep(min(_SECONDS_BETWEEN_LOOKS, self.lease_seconds / 4))

    def _renew(self, name: str, mine: str, ended: threading.Event) -> None:
        """Write the lease anew until the build has ended."""
        times = 0
        while not ended.wait(self.lease_seconds / 6):
            times += 1
            # A place that is away for a moment loses the lease at worst.
            with contextlib.suppress(UnreachableError), self._talking() as (files, root):
                files.pipe_file(f"{root}/{name}.lease", f"{mine} {times}".encode())

    @contextlib.contextmanager
    def _talking(self) -> Iterator[tuple[AbstractFileSystem, str]]:
        """Give the file system and the root path; turn what they raise into one clear error."""
        try:
            files, root = _open(self.uri)
            yield files, root.rstrip("/")
        except (InputError, FileExistsError):
            raise
        except (ImportError, ValueError) as error:
            raise InputError(
                f"shared_stages: {self.uri} cannot be opened: {first_line(error)}. Give a URI that "
                "fsspec knows, such as s3://bucket/stages, and install its package (for S3: pip "
                "install 'adapter-distill[s3]')."
            ) from error
        # Each file system raises errors of its own client's.
        except Exception as error:
            raise UnreachableError(
                f"shared_stages: {self.uri} does not answer, or refuses: {first_line(error)}. "
                "Check the address and the credentials in the environment. Stages that are "
                "finished here stay, and the same command continues."
            ) from error


# Any: a file system and a path, which fsspec does not type.
def _open(uri: str) -> tuple[Any, str]:
    """Return the file system of a URI, without its cache of listings, and the path in it."""
    files, root = fsspec.core.url_to_fs(uri, use_listings_cache=False)
    return files, root


def _content(files: AbstractFileSystem, path: str) -> bytes:
    """Return a file's content; empty where it has just gone."""
    try:
        content: bytes = files.cat_file(path)
    except FileNotFoundError:
        return b""
    return content
