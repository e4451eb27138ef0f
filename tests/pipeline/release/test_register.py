import json

import pytest

from pipeline.errors import InputError
from pipeline.release.bundle import MANIFEST
from pipeline.release.register import register
from pipeline.store.digests import sha256_file


@pytest.fixture
def run(write_run, tmp_path):
    return write_run(tmp_path / "one")


def test_a_version_carries_digests_verdict_and_quality(registry, run):
    version = register(registry, run)

    assert version.number == 1
    assert version.bundle_sha256 == sha256_file(run / "student" / MANIFEST)
    assert version.tags["report_sha256"] == sha256_file(run / "report.json")
    assert version.tags["verdict"] == "passed"
    assert version.tags["accuracy"] == "0.800000 [0.760000, 0.840000]"


def test_settings_numbers_and_curves_are_logged(registry, run):
    version = register(registry, run)

    logged = registry.client.get_run(version.mlflow_run)
    assert logged.data.params["distill.epochs"] == "3"
    assert logged.data.metrics["student/accuracy"] == 0.8
    (point,) = registry.client.get_metric_history(version.mlflow_run, "student/training/train_loss")
    assert (point.step, point.value) == (3, 0.5)
    assert logged.info.status == "FINISHED"


def test_registering_a_run_again_makes_no_second_version(registry, run):
    first, second = register(registry, run), register(registry, run)

    assert first == second
    assert len(registry.versions("tiny")) == 1


def test_a_student_that_passed_becomes_challenger_and_a_refused_one_does_not(
    registry, write_run, tmp_path
):
    passed = register(registry, write_run(tmp_path / "one"))
    refused = register(registry, write_run(tmp_path / "two", seed=1, checks=((0.5, 0.01),)))

    assert passed.aliases == ("challenger",)
    assert refused.aliases == ()
    assert registry.alias("tiny", "challenger") == 1


def test_mlflow_itself_loads_the_version(registry, run):
    import mlflow

    version = register(registry, run)

    model = mlflow.onnx.load_model(version.source)
    assert [each.name for each in model.graph.input] == ["input_ids", "attention_mask"]
    signature = mlflow.models.Model.load(registry.fetch(version)).signature
    assert signature.outputs.inputs[0].shape == (-1, 2)


def test_a_damaged_bundle_is_not_registered(registry, run):
    (run / "student" / "config.json").write_text("{}")

    with pytest.raises(InputError, match=r"config\.json"):
        register(registry, run)
    assert registry.names() == ()


def test_what_is_no_run_is_told(registry, tmp_path):
    with pytest.raises(InputError, match="finished run"):
        register(registry, tmp_path / "nothing")
    (tmp_path / "report.json").write_text(json.dumps({"name": "x"}))
    with pytest.raises(InputError, match="is not a report of a run"):
        register(registry, tmp_path)
