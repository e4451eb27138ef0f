import socket

import pytest

from pipeline.errors import InputError, UnreachableError
from pipeline.release.registry import open_registry
from pipeline.release.registry_uri import check_uri, talking_to


@pytest.mark.parametrize(
    "uri", ["./mlruns", "file:///runs/mlruns", "mlruns", "ftp://host/", "garbage", "C:\\runs", ""]
)
def test_what_is_no_registry_is_refused_with_those_that_are(uri):
    with pytest.raises(
        InputError, match=r"Expected an MLflow server as http://HOST:PORT.*sqlite:///"
    ):
        check_uri(uri)


def test_server_without_http_is_refused_with_the_address_that_was_meant():
    with pytest.raises(InputError, match=r"Did you mean http://localhost:5000\?"):
        check_uri("localhost:5000")


@pytest.mark.parametrize("uri", ["sqlite:///x.db", "postgresql+psycopg2://h/db", "databricks"])
def test_databases_and_managed_registries_are_taken(uri):
    check_uri(uri)


def test_server_that_nobody_answers_for_is_told_at_once_without_its_password(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]

    with pytest.raises(UnreachableError, match="No MLflow server answers") as fault:
        open_registry(f"http://me:s3cret@127.0.0.1:{port}", tmp_path)

    assert "s3cret" not in str(fault.value)
    assert "Connection refused" in str(fault.value)


def test_file_that_is_no_database_is_refused(tmp_path):
    (tmp_path / "mlflow.db").write_bytes(bytes(range(256)) * 20)

    with pytest.raises(UnreachableError, match="not a database"):
        open_registry(None, tmp_path)


def test_environment_is_read_and_checked(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "./mlruns")

    with pytest.raises(InputError, match=r"'\./mlruns'"):
        open_registry(None, tmp_path)


@pytest.mark.parametrize("error", [ModuleNotFoundError("No module named 'psycopg2'"), ValueError()])
def test_whatever_a_driver_raises_is_one_message(error):
    with (
        pytest.raises(UnreachableError, match=r"^The registry .* failed: ") as fault,
        talking_to("postgresql://me:s3cret@h/db"),
    ):
        raise error

    assert "s3cret" not in str(fault.value)
