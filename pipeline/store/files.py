"""Files and folders written and renamed so that no reader sees a part of one."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.errors import InputError


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader sees the old content or the new, never a part."""
    data = content.encode() if isinstance(content, str) else content
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)  # mkstemp makes it readable to its owner alone
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def new_folder(out: Path, *, is_public: bool = True) -> Iterator[Path]:
    """Yield an empty folder beside ``out``; it is renamed to ``out`` when the block ends.

    After an exception, nothing is left but parents that were made.

    Args:
        out: The new folder.
        is_public: Whether every user may read it; otherwise modes stay as the block leaves them.

    Raises:
        InputError: when ``out`` exists, before the block or at its end, or cannot be made.
    """
    try:
        _check_new(out)
        out.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}.", suffix=".partial"))
    except OSError as error:
        raise InputError(
            f"Cannot make the new folder {out}: {error.strerror}. Give a path in a folder that you "
            "can write to."
        ) from error
    try:
        yield partial
        _check_new(out)  # rename would replace an empty folder
        if is_public:
            make_readable(partial)
        partial.rename(out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


@contextmanager
def scratch_folder(folder: Path) -> Iterator[Path]:
    """Yield a new, empty folder; it is removed when the block ends, and so is an empty parent."""
    shutil.rmtree(folder, ignore_errors=True)  # left by a killed process
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):  # the parent holds more
            folder.parent.rmdir()


def make_readable(folder: Path) -> None:
    """Let every user read a folder and all that is in it; its owner alone writes.

    mkdtemp and safetensors, for example, make what only its owner can read. A server in a container
    has another user.
    """
    folder.chmod(0o755)
    for path in folder.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() else 0o644)


def link_or_copy(source: str, target: str) -> None:
    """Give a file a second name where the file system can, and copy it where it cannot.

    For `shutil.copytree`. A file at the target is replaced.
    """
    Path(target).unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def point_to(link: Path, folder: Path) -> None:
    """Let a link in the same runs folder lead to this one, whatever it led to before."""
    temporary = link.with_name(f".{link.name}.{folder.name}")
    temporary.symlink_to(os.path.relpath(folder, link.parent))
    temporary.replace(link)


def _check_new(out: Path) -> None:
    if out.exists() or out.is_symlink():
        raise InputError(
            f"Expected the path of a new folder, but {out} exists already. Give another path, or "
            "remove it."
        )
