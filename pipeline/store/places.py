"""Where data and models are: a path, a file inside an installed package, or the hub.

A package reference (``package://name/path``) is resolved without importing the package, so that
nothing of it runs.
"""

import importlib.util
from pathlib import Path

from pipeline.errors import InputError

PACKAGE_SCHEME = "package://"
DATA_SUFFIXES = (".csv", ".tsv", ".jsonl", ".json", ".parquet", ".conll")
COMPRESSIONS = (".gz", ".bz2", ".zst", ".lz4")
"""Ends of the names of compressed files that are read as they are, where this is said."""
_PATHS = (*DATA_SUFFIXES, *COMPRESSIONS, ".txt")
"""Ends of names that nothing on the hub has."""


def locate(reference: str) -> Path | None:
    """Return the local path behind a reference, or None for the id of something on the hub.

    Raises:
        InputError: when the reference names a path or a package file that does not exist.
    """
    if reference.startswith(PACKAGE_SCHEME):
        return _inside_package(reference)
    path = Path(reference).expanduser()
    if path.exists():
        return path
    looks_like_a_path = path.suffix.lower() in _PATHS or reference.startswith((".", "/", "~"))
    if looks_like_a_path or reference.count("/") > 1:
        raise InputError(
            f"{reference} does not exist (looked in {Path.cwd()}). Give the path of an existing "
            "file or folder, package://name/path, or the id of something on the Hugging Face hub."
        )
    return None


def _inside_package(reference: str) -> Path:
    package, _, inner = reference.removeprefix(PACKAGE_SCHEME).partition("/")
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            f"{reference}: the package {package!r} is not installed. Install it with pip, or give "
            "the path of a file or folder."
        )
    root = Path(next(iter(spec.submodule_search_locations))).resolve()
    path = (root / inner).resolve()
    if not path.is_relative_to(root):
        raise InputError(f"{reference} leads out of its package. Give a path inside {package!r}.")
    if not path.exists():
        raise InputError(f"{reference}: the package {package!r} has no {inner!r}.")
    return path
