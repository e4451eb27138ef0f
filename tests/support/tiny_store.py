"""Fixture: one store of finished tiny stages, shared by all test processes and runs.

Its root is named by the sources that build stages. An unchanged tree finds all of them again, and a
changed one builds its own. Nothing in it is ever written to by a test: copy first.
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from pydantic import TypeAdapter

from pipeline.store.stage import RECORD, Artifact, describe_files
from pipeline.store.store import Store

PLACE = "TINY_STAGES"
"""Environment variable: where the roots are, instead of beside pytest's own cache."""
_SOURCES = ("pipeline", "models", "tests/support")
_SECONDS_UNUSED = 3600
"""After so long no test process of a former tree is running any more."""


@pytest.fixture(scope="session")
def tiny_store(pytestconfig: pytest.Config) -> Iterator[Store]:
    """The finished stages of this tree; the session fails that changed one of them."""
    tree = pytestconfig.rootpath
    place = Path(os.environ.get(PLACE) or tree / ".pytest_cache" / "tiny-stages")
    root = place / f"{_digest_sources(tree)}{_of_this_run_alone(pytestconfig)}"
    root.mkdir(parents=True, exist_ok=True)
    os.utime(root)
    _remove_old(place)
    yield Store(root=root)
    changed = [record.parent.name for record in root.glob(f"*/{RECORD}") if _is_changed(record)]
    assert changed == [], "a test wrote into a shared stage: copy it first"


def make_once(path: Path, make: Callable[[Path], object]) -> Path:
    """Return what ``make(path)`` writes, made by the first process that asks for it."""
    with FileLock(path.with_name(f".{path.name}.lock")):
        if not path.exists():
            partial = path.with_name(f"{path.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            make(partial)
            partial.rename(path)
    return path


def _of_this_run_alone(config: pytest.Config) -> str:
    """Return what keeps a run to itself that measures coverage: what is not run is not covered."""
    if not config.getoption("cov_source", default=None):
        return ""
    worker = getattr(config, "workerinput", {})  # of pytest-xdist: the workers share the run's
    return f"-{worker.get('testrunuid', os.getpid())}"


def _digest_sources(tree: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(path for part in _SOURCES for path in (tree / part).rglob("*.py")):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(tree)} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:16]


def _is_changed(record: Path) -> bool:
    """Tell whether a finished stage's files are other than its record says."""
    found = TypeAdapter(tuple[Artifact, ...]).dump_python(
        describe_files(record.parent), mode="json"
    )
    return found != json.loads(record.read_text(encoding="utf-8"))["artifacts"]


def _remove_old(place: Path) -> None:
    for root in place.iterdir():
        if time.time() - root.stat().st_mtime > _SECONDS_UNUSED:
            shutil.rmtree(root, ignore_errors=True)
