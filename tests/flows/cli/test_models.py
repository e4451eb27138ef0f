import json

import pytest
from typer.testing import CliRunner

from flows.cli.models import models
from pipeline.release.register import register


@pytest.fixture
def run_models(registry, write_run, tmp_path):
    """``run_models(*arguments)``: what a command prints of two versions, old and new."""
    register(registry, write_run(tmp_path / "old", schema=3, accuracy=0.8))
    register(registry, write_run(tmp_path / "new", seed=1, accuracy=0.82))

    def run_models(*arguments):
        found = CliRunner().invoke(
            models, [*arguments, "--runs-dir", str(tmp_path / "runs")], env={"COLUMNS": "160"}
        )
        assert found.exit_code == 0, found.output
        return found.output

    return run_models


def test_list_names_each_versions_main_metric(run_models):
    table = run_models("list")

    assert "accuracy 0.800000 [0.760000, 0.840000]" in table
    assert "accuracy 0.820000 [0.780000, 0.860000]" in table


def test_compare_pairs_reports_of_both_schemas(run_models):
    found = json.loads(run_models("compare", "tiny", "1", "2", "--json"))

    assert found["paired"]["texts"] == 400
    assert found["paired"]["change"]["values"]["accuracy"] == pytest.approx(0.02)
    assert "accuracy" in run_models("compare", "tiny", "1", "2")


def test_show_has_the_checks_of_the_gate(run_models):
    shown = json.loads(run_models("show", "tiny", "1"))

    assert shown["task"] == "classification"
    assert [check["name"] for check in shown["checks"]] == ["check 0"]
