import json

import pytest

from pipeline.errors import InputError
from pipeline.release.bundle import MANIFEST
from pipeline.release.pairing import compare_versions
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
    assert version.tags["task"] == "classification"
    assert (version.tags["agreement"], version.tags["mean_kl"]) == ("0.980000", "0.002")


def test_settings_numbers_and_curves_are_logged(registry, run):
    version = register(registry, run)

    logged = registry.client.get_run(version.mlflow_run)
    assert logged.data.params["distill.epochs"] == "3"
    assert logged.data.metrics["student/accuracy"] == 0.8
    (point,) = registry.client.get_metric_history(version.mlflow_run, "student/training/train_loss")
    assert (point.step, point.value) == (3, 0.5)
    assert logged.info.status == "FINISHED"


def test_benchmark_and_every_model_are_logged(registry, run):
    version = register(registry, run)

    logged = registry.client.get_run(version.mlflow_run).data.metrics
    assert logged["head_only/accuracy"] == 0.7238
    assert logged["teacher/validation/accuracy"] == 0.8025
    assert logged["fidelity/agreement"] == 0.98
    assert logged["latency/plain_again_b1_t16_ratio"] == 1.003


def test_run_of_an_earlier_version_is_registered(registry, write_run, tmp_path):
    version = register(registry, write_run(tmp_path / "old", schema=3))

    logged = registry.client.get_run(version.mlflow_run).data.metrics
    assert version.tags["accuracy"] == "0.800000 [0.760000, 0.840000]"
    assert (version.tags["agreement"], version.tags["mean_kl"]) == ("0.980000", "0.002")
    assert logged["student/accuracy"] == 0.8
    assert logged["student/validation/accuracy"] == 0.7
    assert logged["fidelity/mean_kl"] == 0.002


def test_versions_of_both_schemas_are_paired(registry, write_run, tmp_path):
    old = register(registry, write_run(tmp_path / "old", schema=3))
    new = register(registry, write_run(tmp_path / "new", seed=1))

    assert registry.report(old).student.values == registry.report(new).student.values
    assert compare_versions(registry, old, new).paired.texts == 400


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
    for content in ({"name": "x"}, [], {"schema_version": 4, "evaluation": []}):
        (tmp_path / "report.json").write_text(json.dumps(content))
        with pytest.raises(InputError, match="is not a report of a run"):
            register(registry, tmp_path)
