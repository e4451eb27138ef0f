"""Versions of students on MLflow: all of them, the champion, and the place of its bundle.

By default the registry is a SQLite file in the runs folder, with the artifacts beside it. Any
MLflow server is named by its URI. A version keeps the digests of its bundle's manifest and of its
report, so neither can be exchanged unnoticed. The alias ``champion`` names the served version, and
``challenger`` the newest that passed its gate. A roll back returns to ``previous``.
"""

import contextlib
import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlparse

from filelock import FileLock

from pipeline.errors import InputError
from pipeline.release.bundle import verify_bundle
from pipeline.release.registry_uri import check_uri, talking_to
from pipeline.release.report_view import ReportView, read_report
from pipeline.store.digests import sha256_file

if TYPE_CHECKING:  # importing it takes a second and a half, and sends telemetry unless told not to
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.tracking import MlflowClient

REPORT, BUNDLE = "report.json", "student"
REGISTERED_OUTPUTS = "evaluation/logits.npz"  # the name under which earlier versions are registered
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Version:
    """One registered student."""

    name: str
    number: int
    aliases: tuple[str, ...]
    created_ms: int
    """Unix time, in milliseconds."""
    tags: dict[str, str]
    source: str
    """Where MLflow keeps the bundle."""
    mlflow_run: str
    """Id of the MLflow run with its parameters, metrics and report."""

    @property
    def bundle_sha256(self) -> str:
        """Digest of the bundle's manifest."""
        return self._tag("bundle_sha256")

    @property
    def run_id(self) -> str:
        """Id of the run that made it."""
        return self._tag("run_id")

    def _tag(self, key: str) -> str:
        if key not in self.tags:
            raise InputError(
                f"{self.name} version {self.number} has no tag {key}: adapter-distill did not "
                "register it. Give another version, or register the run."
            )
        return self.tags[key]


@dataclass(frozen=True, kw_only=True, slots=True)
class Registry:
    """An MLflow tracking server and registry."""

    uri: str
    client: "MlflowClient"
    cache: Path
    """Folder for bundles of remote registries, by digest, and for locks."""
    artifacts: Path | None
    """Where a SQLite registry keeps its files."""
    runs: Path
    """Folder of the runs that its versions came from, as far as they are on this machine."""

    def names(self) -> tuple[str, ...]:
        """Return the names of all registered students."""
        names: list[str] = []
        token: str | None = ""
        with self.talking():
            while token is not None:  # MLflow gives a hundred of them at a time
                page = self.client.search_registered_models(page_token=token)
                names, token = [*names, *(model.name for model in page)], page.token or None
        return tuple(names)

    def versions(self, name: str) -> tuple[Version, ...]:
        """Return every version of a student, the newest first."""
        check_name(name)
        with self.talking():
            found = self.client.search_model_versions(f"name = '{name}'")
            aliases = self._aliases(name)
        return tuple(sorted([_version(e, aliases) for e in found], key=lambda v: -v.number))

    def alias(self, name: str, alias: str) -> int | None:
        """Return the number of the version that an alias stands for, or None."""
        check_name(name)
        with self.talking():
            return self._aliases(name).get(alias)

    def find(self, name: str, which: str) -> Version:
        """Return the version of a number or an alias.

        Raises:
            InputError: when there is none.
        """
        versions = self.versions(name)
        number = int(which) if which.isdecimal() else None
        for version in versions:
            if version.number == number or which in version.aliases:
                return version
        have = [" ".join([str(v.number), *(f"({alias})" for alias in v.aliases)]) for v in versions]
        raise InputError(
            f"{name} has no version {which!r} in {self.uri}. It has "
            f"{', '.join(have) or 'none'}: give one of these numbers or aliases."
        )

    def fetch(self, version: Version) -> Path:
        """Return a local folder with the version's bundle, every digest checked.

        A local registry's own folder is used in place; a remote one's is kept in the cache.
        """
        local = _local_path(version.source)
        if local is not None:
            verify_bundle(local, sha256=version.bundle_sha256)
            return local
        folder = self.cache / "bundles" / version.bundle_sha256
        if not folder.is_dir():
            self._download(version, folder)
        verify_bundle(folder, sha256=version.bundle_sha256)
        return folder

    def report(self, version: Version) -> ReportView:
        """Return the report of a version, its digest checked."""
        with self.download(version, REPORT) as path:
            if sha256_file(path) != version.tags.get("report_sha256"):
                raise InputError(
                    f"The report of {version.name} version {version.number} is not the one that "
                    "was registered: its digest differs. Register the run again."
                )
            return read_report(path)

    @contextlib.contextmanager
    def download(self, version: Version, artifact: str) -> Iterator[Path]:
        """Give a file of the version's MLflow run, for as long as the context lasts."""
        with tempfile.TemporaryDirectory(prefix="adapter-distill-") as folder:
            with self.talking():
                path = self.client.download_artifacts(version.mlflow_run, artifact, folder)
            yield Path(path)

    def point(self, name: str, alias: str, number: int) -> None:
        """Let an alias stand for a version."""
        with self.talking():
            self.client.set_registered_model_alias(name, alias, str(number))

    def drop(self, name: str, alias: str) -> None:
        """Remove an alias."""
        with self.talking():
            self.client.delete_registered_model_alias(name, alias)

    def tag(self, version: Version, key: str, value: str) -> None:
        """Write a tag of a version."""
        with self.talking():
            self.client.set_model_version_tag(version.name, str(version.number), key, value)

    def untag(self, version: Version, key: str) -> None:
        """Remove a tag of a version."""
        with self.talking():
            self.client.delete_model_version_tag(version.name, str(version.number), key)

    def note(self, name: str, key: str) -> str | None:
        """Return a tag of a student as a whole, or None."""
        with self.talking():
            value: str | None = self.client.get_registered_model(name).tags.get(key)
        return value

    def write_note(self, name: str, key: str, value: str) -> None:
        """Write a tag of a student as a whole."""
        with self.talking():
            self.client.set_registered_model_tag(name, key, value)

    def lock(self, name: str) -> FileLock:
        """Return the lock under which a student's aliases move: one writer on this machine.

        MLflow has no compare-and-set of aliases. For a server that several machines promote on,
        let one Prefect deployment with a concurrency limit of one do it.
        """
        check_name(name)
        folder = self.artifacts or self.cache / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        key = hashlib.sha256(self.uri.encode()).hexdigest()[:16]
        return FileLock(folder / f".{name}-{key}.lock", timeout=600)

    def talking(self) -> contextlib.AbstractContextManager[None]:
        """Turn what MLflow and its database raise into one clear error."""
        return talking_to(self.uri)

    def _aliases(self, name: str) -> dict[str, int]:
        """Return the version's number by alias, empty for a student that is not registered."""
        for model in self.client.search_registered_models(f"name = '{name}'"):
            return {alias: int(number) for alias, number in model.aliases.items()}
        return {}

    def _download(self, version: Version, folder: Path) -> None:
        from mlflow.artifacts import download_artifacts

        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".partial-"))
        try:
            with self.talking():
                found = download_artifacts(
                    artifact_uri=version.source, dst_path=str(partial), tracking_uri=self.uri
                )
            with contextlib.suppress(FileExistsError, OSError):  # another process was faster
                Path(found).rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def open_registry(uri: str | None, runs_dir: Path) -> Registry:
    """Return the registry at a URI, or the SQLite file ``mlflow.db`` of a runs folder.

    Args:
        uri: ``http(s)://`` of an MLflow server, ``sqlite:///`` and other database URIs; without
            one, what the environment's MLFLOW_TRACKING_URI says.
        runs_dir: Folder of the runs, for the default where neither is given.
    """
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or None
    # Both are read when MLflow is imported.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    from mlflow.tracking import MlflowClient

    for name in ("mlflow.store.db.utils", "mlflow.tracking", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    root = runs_dir.resolve()
    uri = uri or f"sqlite:///{root / 'mlflow.db'}"
    check_uri(uri)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "adapter-distill"
    path = Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None
    artifacts = path.resolve().parent / "mlartifacts" if path else None
    with talking_to(uri):
        if artifacts:
            artifacts.mkdir(parents=True, exist_ok=True)
        # The first client creates the database's tables; two at once would each try to.
        with FileLock(artifacts / ".create.lock") if artifacts else contextlib.nullcontext():
            client = MlflowClient(tracking_uri=uri, registry_uri=uri)
            registry = Registry(uri=uri, client=client, cache=cache, artifacts=artifacts, runs=root)
            registry.names()
    return registry


def check_name(name: str) -> None:
    """Refuse what cannot be a student's name, before it reaches a path or a query."""
    if not _NAME.fullmatch(name):
        raise InputError(
            f"{name!r} is not a student's name: lower-case letters, digits and dashes, at most 63."
        )


def describe_version(version: Version) -> str:
    """Return a version's facts as JSON: what is printed and what scripts read."""
    facts = {
        "name": version.name,
        "version": version.number,
        "aliases": version.aliases,
        "created_ms": version.created_ms,
        **version.tags,
    }
    return json.dumps(facts, ensure_ascii=False)


def _version(entry: "ModelVersion", aliases: dict[str, int]) -> Version:
    number = int(entry.version)
    return Version(
        name=entry.name,
        number=number,
        aliases=tuple(sorted(alias for alias, of in aliases.items() if of == number)),
        created_ms=entry.creation_timestamp,
        tags=dict(entry.tags),
        source=entry.source or "",
        mlflow_run=entry.run_id or "",
    )


def _local_path(source: str) -> Path | None:
    parsed = urlparse(source)
    if parsed.scheme == "file":
        return Path(unquote(parsed.path))
    return Path(source) if parsed.scheme == "" else None
