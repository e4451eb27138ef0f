import dataclasses
from functools import partial

import pytest

from pipeline.chain.finished import Finished
from pipeline.config import BenchmarkConfig, EvaluateConfig, GateConfig, RunConfig
from pipeline.decisions.gate import decide
from pipeline.facts.benchmark import BenchmarkFacts
from pipeline.facts.quality import EvaluateFacts
from pipeline.report.publish import publish
from pipeline.report.report import Report
from pipeline.stages.benchmark import benchmark
from pipeline.stages.evaluate import evaluate
from pipeline.store.digests import sha256_file
from pipeline.tasks.classification import SINGLE_LABEL
from pipeline.timing.ladder import TorchTeacher

ANYTHING = GateConfig(
    max_accuracy_drop=1,
    min_agreement=0,
    max_class_drop=1,
    max_calibration_growth=1,
    max_size_ratio=1e6,
    max_latency_ratio=1e6,
    overhead="any",
)


@pytest.fixture(scope="module")
def finished(
    finish,
    tiny_data,
    tiny_head_only,
    tiny_teacher,
    tiny_targets,
    tiny_absorbed,
    tiny_student,
    tiny_export,
    tiny_backbone,
    tiny_quantized,
):
    """Every stage of a run on the tiny model."""
    quick = EvaluateConfig(bootstrap_samples=100)
    measure = partial(
        evaluate, tiny_data, tiny_export, tiny_quantized, quick, task=SINGLE_LABEL, seed=0
    )
    tiny = BenchmarkConfig(
        batch_sizes=(1,),
        lengths=(8,),
        own_lengths=0,
        min_blocks=3,
        max_blocks=3,
        rounds=2,
        warmup_runs=1,
        ladder_blocks=0,
        seconds_per_file=0.01,
    )
    torch_teacher = TorchTeacher(folder=tiny_teacher.folder, backbone=tiny_backbone.folder)
    time = partial(
        benchmark,
        tiny_data,
        tiny_export,
        tiny_quantized,
        torch_teacher,
        tiny,
        max_length=16,
        seed=0,
    )
    return Finished(
        data=tiny_data,
        head_only=tiny_head_only,
        teacher=tiny_teacher,
        absorbed=tiny_absorbed,
        student=tiny_student,
        exported=tiny_export,
        quantized=tiny_quantized,
        evaluation=finish("evaluate", measure, EvaluateFacts),
        benchmark=finish("benchmark", time, BenchmarkFacts),
        others=(tiny_targets,),
    )


@pytest.fixture
def publish_run(finished, tmp_path):
    """``publish_run(gate=..., **stages)``: the folder of a run below ``tmp_path``."""

    def publish_run(*, gate=None, **stages):
        config = RunConfig(
            name="tiny",
            runs_dir=tmp_path / "runs",
            data={"train": "reviews.csv", "labels": ["negative", "positive"]},
            teacher={"model": "tiny-bert"},
            gate=gate or ANYTHING,
        )
        decision = decide(
            finished.evaluation.facts,
            finished.benchmark.facts,
            config.gate,
            main_metric="accuracy",
            shipped_arm=finished.shipped_arm,
        )
        return publish(config, dataclasses.replace(finished, **stages), decision)

    return publish_run


def read_report(folder):
    return Report.model_validate_json((folder / "report.json").read_text())


def test_run_folder_holds_report_page_config_and_bundle(publish_run):
    folder = publish_run()

    names = {path.name for path in folder.iterdir() if not path.is_symlink()}
    assert names == {"report.json", "report.html", "config.json", "student", "plots"}
    assert (folder / "student" / "onnx" / "model.onnx").is_file()
    assert (folder / "student" / "README.md").is_file()
    assert {path.stem for path in (folder / "plots").glob("*.png")} >= {"quality", "latency"}
    assert RunConfig.model_validate_json((folder / "config.json").read_text()).name == "tiny"


def test_stages_are_linked_relative_to_the_run(publish_run, finished):
    folder = publish_run()

    for stage in finished.all:
        link = folder / stage.name
        assert not link.readlink().is_absolute()
        assert link.resolve() == stage.folder.resolve()


def test_every_reported_artifact_has_its_digest(publish_run):
    folder = publish_run()

    report = read_report(folder)
    assert all(sha256_file(folder / e.path) == e.sha256 for e in report.artifacts)
    assert report.verdict == "passed"


def test_refused_run_is_published_with_its_reasons(publish_run):
    folder = publish_run(gate=GateConfig(max_accuracy_drop=1, max_latency_ratio=1e-3))

    report = read_report(folder)
    assert report.verdict == "refused"
    assert any("max_latency_ratio" in reason for reason in report.reasons)


def test_run_without_absorption_reports_no_sites(publish_run):
    report = read_report(publish_run(absorbed=None))

    assert report.student.absorbed is None
    assert "absorb" not in report.timing_s


def test_latest_moves_to_the_newest_run_and_ids_differ(publish_run):
    folders = [publish_run() for _ in range(3)]

    root = folders[0].parent
    assert len(set(folders)) == 3
    assert (root / "latest").resolve() == folders[-1].resolve()
    assert not (root / "latest").readlink().is_absolute()


def test_nothing_is_left_of_a_run_that_could_not_be_written(publish_run, finished, tmp_path):
    good = publish_run()
    gone = dataclasses.replace(finished.quantized, folder=tmp_path / "gone")

    with pytest.raises(OSError, match="gone"):
        publish_run(quantized=gone)

    there = sorted(path.name for path in good.parent.iterdir())
    assert there == [".publish.lock", good.name, "latest"]
    assert (good.parent / "latest").resolve() == good.resolve()


def test_what_a_killed_run_left_half_written_is_removed(publish_run):
    root = publish_run().parent
    left, other = root / ".20260101-000000-tiny.partial", root / ".student.7.partial"
    for folder in (left, other):
        (folder / "student").mkdir(parents=True)
    publish_run()

    assert not left.exists()
    assert other.exists()  # another command's
