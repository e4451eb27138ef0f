"""Files written, linked and renamed so that no reader sees a part of one."""

import os
import shutil
import tempfile
from pathlib import Path


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


def link_or_copy(source: str, target: str) -> None:
    """Give a file a second name where the file system can, and copy it where it cannot.

    For `shutil.copytree`. What stood at the target is replaced.
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
