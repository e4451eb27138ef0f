import dataclasses
from functools import partial

import pytest

from pipeline.chain.decide import decide_run
from pipeline.chain.finished import FinishedStages
from pipeline.config import BenchmarkConfig, EvaluateConfig, GateConfig, RunConfig
from pipeline.facts.benchmark import BenchmarkFacts
from pipeline.facts.quality import EvaluateFacts
from pipeline.report.publish import publish
from pipeline.report.report import Report
from pipeline.stages.benchmark import BenchmarkSettings, benchmark
from pipeline.stages.evaluate import EvaluateSettings, evaluate
from pipeline.store.digests import sha256_file
from pipeline.store.step import step
from pipeline.timing.machine import describe_machine

ANYTHING = GateConfig(
    max_metric_drop=1,
    min_agreement=0,
    min_gain=-1,
    max_class_drop=1,
    max_calibration_growth=1,
    max_size_ratio=1e6,
    max_latency_ratio=1e6,
    overhead="any",
)


TINY = BenchmarkConfig(
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


@pytest.fixture(scope="module")
def tiny_evaluation(tiny_store, tiny_data, tiny_export, tiny_quantized, tiny_context):
    settings = EvaluateSettings(
        task=tiny_context.task, evaluate=EvaluateConfig(bootstrap_samples=100), seed=0
    )
    inputs = (tiny_data, tiny_export, tiny_quantized)
    return tiny_store.ensure(
        step("evaluate", evaluate, *inputs, settings=settings, facts=EvaluateFacts)
    )


@pytest.fixture(scope="module")
def tiny_benchmark(tiny_store, tiny_data, tiny_teacher, tiny_export, tiny_quantized, tiny_context):
    settings = BenchmarkSettings(context=tiny_context, benchmark=TINY, machine=describe_machine())
    inputs = (tiny_data, tiny_teacher, tiny_export, tiny_quantized)
    return tiny_store.ensure(
        step("benchmark", benchmark, *inputs, settings=settings, facts=BenchmarkFacts)
    )


@pytest.fixture(scope="module")
def finished(
    tiny_context,
    tiny_data,
    tiny_head_only,
    tiny_teacher,
    tiny_targets,
    tiny_absorbed,
    tiny_student,
    tiny_export,
    tiny_quantized,
    tiny_evaluation,
    tiny_benchmark,
):
    """Every stage of a run on the tiny model."""
    return FinishedStages(
        task=tiny_context.task,
        compute=tiny_context.compute,
        data=tiny_data,
        head_only=tiny_head_only,
        teacher=tiny_teacher,
        absorbed=tiny_absorbed,
        student=tiny_student,
        exported=tiny_export,
        quantized=tiny_quantized,
        evaluation=tiny_evaluation,
        benchmark=tiny_benchmark,
        others=(tiny_targets,),
    )


@pytest.fixture(scope="module")
def publish_below(finished):
    """``publish_below(runs, gate=..., **stages)``: the folder of a run below ``runs``."""

    def publish_below(runs, *, gate=None, **stages):
        config = RunConfig(
            name="tiny",
            runs_dir=runs,
            data={"train": "reviews.csv", "labels": ["negative", "positive"]},
            teacher={"model": "tiny-bert"},
            gate=gate or ANYTHING,
        )
        decision = decide_run(finished, config.gate)
        return publish(config, dataclasses.replace(finished, **stages), decision)

    return publish_below


@pytest.fixture
def publish_run(publish_below, tmp_path):
    """``publish_run(gate=..., **stages)``: the folder of a run below ``tmp_path``."""
    return partial(publish_below, tmp_path / "runs")


@pytest.fixture(scope="module")
def published(publish_below, tmp_path_factory):
    """The folder of a run that passed: look, don't touch."""
    return publish_below(tmp_path_factory.mktemp("runs"))


def read_report(folder):
    return Report.model_validate_json((folder / "report.json").read_text())


def test_run_folder_holds_report_page_config_and_bundle(published):
    names = {path.name for path in published.iterdir() if not path.is_symlink()}
    assert names == {"report.json", "report.html", "config.json", "student", "plots"}
    assert (published / "student" / "onnx" / "model.onnx").is_file()
    assert (published / "student" / "README.md").is_file()
    assert {path.stem for path in (published / "plots").glob("*.png")} >= {"quality", "latency"}
    assert RunConfig.model_validate_json((published / "config.json").read_text()).name == "tiny"


def test_stages_are_linked_relative_to_the_run(published, finished):
    for stage in finished.all:
        link = published / stage.name
        assert not link.readlink().is_absolute()
        assert link.resolve() == stage.folder.resolve()


def test_every_reported_artifact_has_its_digest(published):
    report = read_report(published)
    assert all(sha256_file(published / e.path) == e.sha256 for e in report.artifacts)
    assert report.verdict == "passed"


def test_report_holds_the_stages_facts(published, finished):
    report = read_report(published)

    assert report.task == "classification"
    assert report.data == finished.data.facts
    assert report.teacher == finished.teacher.facts
    assert report.evaluation == finished.evaluation.facts
    assert report.benchmark == finished.benchmark.facts


def test_sizes_are_those_of_the_files(published, finished):
    exported = finished.exported.folder
    assert read_report(published).onnx_bytes == {
        "plain": (exported / "plain" / "onnx" / "model.onnx").stat().st_size,
        "teacher": (exported / "teacher" / "onnx" / "model.onnx").stat().st_size,
        "student": (published / "student" / "onnx" / finished.quantized.facts.file).stat().st_size,
    }


def test_refused_run_is_published_with_its_reasons(publish_run):
    folder = publish_run(gate=GateConfig(max_metric_drop=1, max_latency_ratio=1e-3))

    report = read_report(folder)
    assert report.verdict == "refused"
    assert any("max_latency_ratio" in reason for reason in report.reasons)


def test_run_without_absorption_reports_no_sites(publish_run):
    report = read_report(publish_run(absorbed=None))

    assert report.absorbed is None
    assert "absorb" not in report.timing_s


def test_latest_moves_to_the_newest_run_and_ids_differ(publish_run):
    folders = [publish_run() for _ in range(2)]

    root = folders[0].parent
    assert len(set(folders)) == 2
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
