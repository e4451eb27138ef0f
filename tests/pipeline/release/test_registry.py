import pytest

from pipeline.errors import InputError, UnreachableError
from pipeline.release.register import register
from pipeline.release.registry import open_registry


@pytest.fixture
def version(registry, write_run, tmp_path):
    return register(registry, write_run(tmp_path / "one"))


def test_a_version_is_found_by_number_and_alias(registry, version):
    assert registry.find("tiny", "1") == registry.find("tiny", "challenger") == version


def test_an_unknown_version_names_those_there_are(registry, write_run, tmp_path):
    register(registry, write_run(tmp_path / "one"))

    with pytest.raises(InputError, match=r"no version 'champion'.*1 \(challenger\)"):
        registry.find("tiny", "champion")


@pytest.mark.parametrize("name", ["../x", "a' OR 'b' = 'b", "", "A", "x" * 64, "x/../y"])
def test_names_that_could_lead_elsewhere_are_refused(registry, name):
    with pytest.raises(InputError, match="student's name"):
        registry.versions(name)


def test_a_bundle_that_was_changed_in_the_registry_is_refused(registry, version):
    folder = registry.fetch(version)
    (folder / "tokenizer.json").write_text("{}")

    with pytest.raises(InputError, match=r"tokenizer\.json"):
        registry.fetch(version)


def test_a_report_that_was_changed_in_the_registry_is_refused(registry, version):
    path = registry.fetch(version).parent / "report.json"
    path.write_text(path.read_text().replace("0.98", "0.99"))

    with pytest.raises(InputError, match="digest differs"):
        registry.report(version)


def test_a_server_that_does_not_answer_is_one_error(monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")

    with pytest.raises(
        UnreachableError, match=r"No MLflow server answers at http://\*\*\*@127\.0\.0\.1:9"
    ):
        open_registry("http://user:secret@127.0.0.1:9", tmp_path)


def test_bundles_of_a_remote_registry_are_cached_by_digest(
    registry, version, tmp_path, monkeypatch
):
    """A source on another scheme than file is downloaded: here one that MLflow maps to a folder."""
    import dataclasses

    monkeypatch.setenv("MLFLOW_TRACKING_URI", registry.uri)
    remote = dataclasses.replace(version, source=f"runs:/{version.mlflow_run}/student")
    cached = dataclasses.replace(registry, cache=tmp_path / "cache")

    folder = cached.fetch(remote)
    (folder / "config.json").write_text("{}")

    assert folder == tmp_path / "cache" / "bundles" / version.bundle_sha256
    with pytest.raises(InputError, match=r"config\.json"):
        cached.fetch(remote)


def test_all_students_are_named_however_many_there_are(registry):
    names = [f"student-{number:03}" for number in range(101)]  # MLflow's pages hold a hundred
    for name in names:
        registry.client.create_registered_model(name)

    assert sorted(registry.names()) == names
