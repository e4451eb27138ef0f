import csv
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from support.smoke_runs import SMOKE

from flows.chain import adapter_to_student
from pipeline.config.load import load_config
from pipeline.report.report import Report
from pipeline.store.digests import sha256_file

pytestmark = pytest.mark.xdist_group("prefect")

STAGES = {
    "data",
    "head-only",
    "finetune",
    "absorb",
    "soft-targets",
    "distill",
    "export",
    "quantize",
    "evaluate",
    "benchmark",
}


def read_report(folder: Path) -> Report:
    return Report.model_validate_json((folder / "report.json").read_text(encoding="utf-8"))


@pytest.fixture
def run_smoke(smoke_run, smoke_overrides):
    """``run_smoke(*overrides)``: folder and report of a run in the first run's folder."""

    def run_smoke(*overrides):
        same = [*smoke_overrides, f"runs_dir={smoke_run.parent}"]
        folder = adapter_to_student(load_config(SMOKE, [*same, *overrides]))
        return folder, read_report(folder)

    return run_smoke


@pytest.fixture(scope="session")
def report(smoke_run):
    return read_report(smoke_run)


def test_run_passes_with_the_time_of_every_stage(report):
    assert report.verdict == "passed"
    assert report.reasons == ()
    assert set(report.timing_s) == STAGES


def test_report_holds_every_required_number(report):
    assert len(report.data.digest) == 64
    assert report.task == "classification"
    for quality in report.quality.values():
        assert 0 <= quality.values["accuracy"] <= 1
    assert 0 < report.teacher.trainable_parameters < report.teacher.total_parameters
    assert report.student.total_parameters < report.teacher.total_parameters
    assert 0 <= report.evaluation.fidelity.values["agreement"] <= 1
    assert report.evaluation.fidelity.values["mean_kl"] >= 0
    assert 0 <= report.parity_difference < 1e-4


def test_report_holds_the_latency_of_every_arm(report):
    cells = [(entry.arm, entry.batch, entry.length) for entry in report.benchmark.latency]

    arms = ("plain", "plain again", "teacher", "student")
    assert cells == [(arm, 1, length) for length in (8, None) for arm in arms]
    assert all(entry.median_ms > 0 for entry in report.benchmark.latency)
    assert all(e.ci_low <= e.ratio_to_plain <= e.ci_high for e in report.benchmark.latency)


def test_report_holds_structure_verdict_and_ladder(report):
    found = report.benchmark
    assert found.verdict.structure.student_is_plain
    assert not found.verdict.structure.teacher_is_plain
    assert found.graphs["student"].hash == found.graphs["plain"].hash
    assert found.graphs["student"].adapter_traces == ()
    assert found.graphs["teacher"].adapter_traces
    arms = {"teacher in PyTorch", "teacher", "plain", "student", report.shipped_arm}
    assert {rung.arm for rung in found.ladder} == arms
    assert set(found.costs) == arms - {"teacher in PyTorch"}


def test_every_artifact_of_the_report_is_there_with_its_digest(smoke_run, report):
    found = {
        entry.path: (sha256_file(path := smoke_run / entry.path), path.stat().st_size)
        for entry in report.artifacts
    }

    assert found == {e.path: (e.sha256, e.size_bytes) for e in report.artifacts}
    assert {"student/onnx/runtime.json", "student/README.md", "data/train.parquet"} <= set(found)


def read_artifacts():
    with get_client(sync_client=True) as client:
        return {artifact.key: artifact for artifact in client.read_artifacts()}


def test_server_shows_the_summary_and_the_latency(report):
    artifacts = read_artifacts()

    assert artifacts["distill-summary"].type == "markdown"
    for key in ("onnx-latency", "latency-ladder", "overhead-verdict"):
        assert artifacts[key].type == "table"
    accuracy = report.evaluation.student.values["accuracy"]
    assert f"{accuracy:.4f}" in artifacts["distill-summary"].data


def test_second_run_reuses_every_stage_and_becomes_the_latest(run_smoke, report):
    folder, second = run_smoke()

    assert set(second.reused) == STAGES
    assert (folder.parent / "latest").resolve() == folder.resolve()
    assert second.run_id != report.run_id
    assert second.evaluation == report.evaluation


def test_late_setting_reuses_what_stands_before_it(run_smoke):
    _, report = run_smoke("evaluate.bootstrap_samples=101")

    assert set(report.reused) == STAGES - {"evaluate"}


@pytest.fixture(scope="session")
def refused_pairs(smoke_run, smoke_overrides, tiny_csv, tmp_path_factory):
    """The report of a refused student of sentence pairs."""
    with tiny_csv.open(encoding="utf-8", newline="") as file:
        rows = [(*row["text"].split(" ", 1), row["label"]) for row in csv.DictReader(file)]
    path = tmp_path_factory.mktemp("pairs") / "pairs.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("first", "second", "label"), *rows])
    overrides = [
        f"runs_dir={smoke_run.parent}",
        f"data.train={path}",
        'data.text=["first", "second"]',
        # One untrained layer of a two-layer backbone knows little of what its teacher does.
        "student.layers=[0]",
        "distill.learning_rate=1e-12",
        "gate.max_metric_drop=0",
        "gate.min_agreement=1",
        "gate.max_latency_ratio=0.01",
        "gate.max_size_ratio=0.01",
        "benchmark.ladder_blocks=0",
        "quantize.enabled=false",
    ]
    return read_report(adapter_to_student(load_config(SMOKE, [*smoke_overrides, *overrides])))


@pytest.mark.slow
def test_sentence_pairs_go_through_the_whole_chain(refused_pairs):
    assert refused_pairs.reused == ()
    assert set(refused_pairs.timing_s) == STAGES - {"quantize"}
    assert refused_pairs.data.text_columns == ("first", "second")
    assert refused_pairs.data.sizes["test"] == 24


@pytest.mark.slow
def test_server_shows_the_progress_of_what_is_built(refused_pairs):
    assert refused_pairs.reused == ()
    assert read_artifacts()["progress-fine-tuning"].data == 100
    assert read_artifacts()["progress-run"].data == 100


@pytest.mark.slow
def test_refused_student_is_a_finished_run_with_every_reason(refused_pairs):
    failed = [check for check in refused_pairs.checks if not check.passed]

    assert refused_pairs.verdict == "refused"
    assert len(failed) >= 2
    assert refused_pairs.reasons == tuple(check.reason for check in failed)
