"""Which finished run's student is the champion: the link ``runs_dir/champion``.

Release by a registry replaces these two functions, and nothing else needs to know.
"""

from pathlib import Path

from pipeline.errors import InputError

CHAMPION = "champion"


def find_champion(runs_dir: Path) -> Path | None:
    """Return the champion's run folder, or None before the first release."""
    link = runs_dir / CHAMPION
    return link.resolve() if (link / "report.json").is_file() else None


def name_champion(runs_dir: Path, folder: Path) -> None:
    """Point the link to a finished run; a reader sees the old one or the new one.

    Raises:
        InputError: when the folder is no finished run of ``runs_dir``.
    """
    is_finished = (folder / "report.json").is_file()
    if not is_finished or folder.resolve().parent != runs_dir.resolve():
        raise InputError(f"{folder} is not a finished run in {runs_dir}. Give one that is.")
    temporary = runs_dir / f".{CHAMPION}.{folder.name}"
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(folder.name)
    temporary.replace(runs_dir / CHAMPION)
