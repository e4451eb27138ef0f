"""Registries that a folder's runs are in, and the runs that these need.

Without them nobody can say what is needed. A registry that is missing, cannot be read, or knows
none of the runs therefore ends the removal at once.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import InputError
from pipeline.release.aliases import CHAMPION
from pipeline.release.history import former_champions
from pipeline.release.registry import Registry, open_registry
from pipeline.retention.inventory import Found

_NOTHING = "Nothing was removed, since only the registry knows which runs are needed"


def open_registries(given: str | None, root: Path, runs: Sequence[Found]) -> tuple[Registry, ...]:
    """Return every registry that may need one of these runs.

    Args:
        given: URI from the command line.
        root: Folder of the runs.
        runs: Finished runs in it.

    Raises:
        InputError: when one cannot be read, or none is there though runs should be in one.
    """
    uri = given or os.environ.get("MLFLOW_TRACKING_URI") or None
    own = f"sqlite:///{root.resolve() / 'mlflow.db'}"
    configs = [_release_of(run) for run in runs]
    named = {each for each, _ in configs if each} | ({uri} if uri else set())
    if (root / "mlflow.db").exists():
        named.add(own)
    if not named and any(is_registered for _, is_registered in configs):
        raise InputError(
            f"{_NOTHING}: no registry was given, and {root / 'mlflow.db'} is missing. Give its URI "
            "with --registry."
        )
    registries = tuple(_open(each, root) for each in sorted(named))
    if any(is_registered for _, is_registered in configs):
        _check_knows_some(registries, runs)
    return registries


def needed_runs(registry: Registry, students: Sequence[str]) -> dict[str, str]:
    """Return the ids of the runs that a registry needs, each with the reason.

    Args:
        registry: Where to look.
        students: Names of the students that the runs made.
    """
    needed = {}
    try:
        for name in students:
            versions = registry.versions(name)
            if not versions:
                continue
            former = former_champions(registry, name, registry.alias(name, CHAMPION))
            for version in versions:
                reasons = list(version.aliases)
                if version.number in former:
                    reasons.append("former champion")
                if reasons and "run_id" in version.tags:
                    needed[version.run_id] = f"{name} version {version.number}: {reasons[0]}"
    except InputError as error:
        raise InputError(f"{_NOTHING}: {error}") from error
    return needed


def _open(uri: str, root: Path) -> Registry:
    file = uri.removeprefix("sqlite:///")
    if file != uri and not Path(file).is_file():  # opening it would make an empty one
        raise InputError(f"{_NOTHING}: {file} is missing. Give its URI with --registry.")
    try:
        return open_registry(uri, root)
    except InputError as error:
        raise InputError(f"{_NOTHING}: {error}") from error


def _check_knows_some(registries: Sequence[Registry], runs: Sequence[Found]) -> None:
    """Refuse registries that know none of the runs: they are the wrong ones."""
    ids = {run.path.name for run in runs}
    for registry in registries:
        for name in {run.student for run in runs}:
            if any(version.tags.get("run_id") in ids for version in registry.versions(name)):
                return
    listed = ", ".join(registry.uri for registry in registries)
    raise InputError(
        f"{_NOTHING}: {listed} knows none of the {len(ids)} runs. Give the URI of their registry "
        "with --registry, or register one with `adapter-distill models register`."
    )


def _release_of(run: Found) -> tuple[str | None, bool]:
    """Return the registry that a run's config names, and whether the run is to be registered."""
    try:
        config = json.loads((run.path / "config.json").read_bytes())
        release = config.get("release", {})
        uri = release.get("registry")
        return (uri if isinstance(uri, str) else None), release.get("register_run") is not False
    except (OSError, ValueError, AttributeError):
        return None, True
