"""Databases that an earlier version wrote are brought up to date, as docs/operations.md says."""

import os
import signal
import sqlite3
import subprocess
import sys

import httpx
import pytest
from alembic import command
from alembic.script import ScriptDirectory
from support.prefect_api import free_port, wait_for

from pipeline.release.registry import open_registry

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("upgrade")]

mlflow_utils = pytest.importorskip("mlflow.store.db.utils")
OLDER = 10
"""Number of MLflow's schemas before this one."""


def write_older_registries(folder):
    """Return registries of the last schemas before this one, each with one student."""
    from mlflow.store.tracking.dbmodels.initial_models import Base

    found = []
    path = folder / "registry.db"
    uri = f"sqlite:///{path}"
    engine = mlflow_utils.create_sqlalchemy_engine_with_retry(uri)
    Base.metadata.create_all(engine)
    config = mlflow_utils._get_alembic_config(uri)
    schemas = [each.revision for each in ScriptDirectory.from_config(config).walk_revisions()]
    for revision in reversed(schemas[1 : OLDER + 1]):
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
        copy = folder / f"{revision}.db"
        with sqlite3.connect(path) as source, sqlite3.connect(copy) as target:
            source.backup(target)
            target.execute(
                "INSERT INTO registered_models (name, creation_time, last_updated_time) "
                "VALUES ('kept', 1, 1)"
            )
        found.append(copy)
    return found


def test_registry_of_an_earlier_mlflow_is_brought_up_to_date_when_it_is_opened(tmp_path):
    registries = write_older_registries(tmp_path)

    for path in registries:
        uri = f"sqlite:///{path}"
        assert open_registry(uri, tmp_path).names() == ("kept",)
        engine = mlflow_utils.create_sqlalchemy_engine_with_retry(uri)
        assert (
            mlflow_utils._get_schema_version(engine) == mlflow_utils._get_latest_schema_revision()
        )

    assert len(registries) == OLDER


def test_server_brings_an_older_database_of_prefect_up_to_date(tmp_path):
    environment = os.environ | {"PREFECT_HOME": str(tmp_path), "PREFECT_API_URL": ""}
    database = [sys.executable, "-m", "prefect", "server", "database"]

    def change(*words):
        subprocess.run([*database, *words, "-y"], env=environment, check=True, capture_output=True)

    def schema():
        with sqlite3.connect(tmp_path / "prefect.db") as found:
            return found.execute("SELECT version_num FROM alembic_version").fetchone()

    change("upgrade")
    newest = schema()
    change("downgrade", "--revision", "-2")
    older = schema()
    with sqlite3.connect(tmp_path / "prefect.db") as found:
        found.execute("INSERT INTO variable (name, value) VALUES ('kept', '\"1\"')")

    port = free_port()
    words = ["server", "start", "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen(
        [sys.executable, "-m", "flows.server.embedded", *words], env=environment
    )
    try:
        url = f"http://127.0.0.1:{port}/api"
        wait_for(lambda: is_ready(url))
        kept = httpx.get(f"{url}/variables/name/kept").json()
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(60)

    assert older != newest
    assert schema() == newest
    assert kept["value"] == "1"


def is_ready(url):
    try:
        return httpx.get(f"{url}/ready").status_code == 200
    except httpx.HTTPError:
        return False
