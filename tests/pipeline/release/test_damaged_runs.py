"""Every damage of a finished run ends in one clear error, or does no harm."""

import json
import shutil

import pytest
from support.damage import damages, problems

from pipeline.errors import InputError
from pipeline.release.bundle import verify_bundle
from pipeline.release.pairing import read_outputs
from pipeline.release.register import read_run, register
from pipeline.release.report_view import read_report


def read_files(run):
    """Read what registering reads, without a registry."""
    read_run(run, read_report(run / "report.json"))
    read_outputs(run / "evaluate" / "outputs.npz")


@pytest.mark.parametrize(("schema", "every"), [(3, 3), (4, 37)])
def test_damaged_run_is_refused_or_harmless(write_run, tmp_path, schema, every):
    run = write_run(tmp_path / "run", schema=schema)
    shutil.rmtree(run / "student")

    assert problems(run, tmp_path, read_files, every=every) == []


@pytest.mark.parametrize("name", ["report.json", "config.json"])
def test_damaged_run_leaves_nothing_in_the_registry(registry, write_run, tmp_path, name):
    run = write_run(tmp_path / "run")
    (run / name).write_text("{")

    with pytest.raises(InputError, match=f"{run / name} is not JSON"):
        register(registry, run)

    assert registry.client.search_experiments(filter_string="name = 'tiny'") == []


def test_manifest_with_names_that_no_file_can_have_is_refused(write_run, tmp_path):
    bundle = write_run(tmp_path / "run") / "student"
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["files"][0]["path"] = "x" * 300
    (bundle / "manifest.json").write_text(json.dumps(manifest))

    with pytest.raises(InputError, match=r"manifest\.json .*not a plain path"):
        verify_bundle(bundle)


def test_damaged_sealed_bundle_is_refused_or_harmless(write_run, tmp_path):
    bundle = write_run(tmp_path / "run") / "student"
    chosen = (each for each in damages(bundle) if each[0].startswith("manifest"))

    assert problems(bundle, tmp_path, verify_bundle, chosen=chosen, every=3) == []
