from pathlib import Path

import pytest

from flows.chain import adapter_to_student
from pipeline.config import RunConfig
from pipeline.config.load import load_config
from pipeline.report.report import Report
from pipeline.standalone.export_adapter import export_adapter

pytestmark = [pytest.mark.xdist_group("prefect"), pytest.mark.slow]


def read_report(folder: Path) -> Report:
    return Report.model_validate_json((folder / "report.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def imported_run(smoke_run, smoke_overrides, tmp_path_factory):
    """The folder of a run whose teacher is the first run's, exported and imported again."""
    hub = tmp_path_factory.mktemp("hub") / "reviews"
    export_adapter(smoke_run / "finetune", hub)
    overrides = [
        *smoke_overrides,
        f"runs_dir={smoke_run.parent}",
        f'teacher.adapter={{from = "{hub}"}}',
        "quantize.enabled=false",
        "benchmark.ladder_blocks=0",
    ]
    return adapter_to_student(load_config(Path("configs/smoke.toml"), overrides))


def test_imported_teacher_goes_through_the_chain_without_finetune(imported_run, smoke_run):
    report, first = read_report(imported_run), read_report(smoke_run)

    assert report.verdict == "passed"
    assert "import" in report.timing_s
    assert "finetune" not in report.timing_s
    assert report.evaluation.teacher == first.evaluation.teacher
    assert report.absorbed is not None


def test_report_and_config_say_where_the_adapters_came_from(imported_run):
    report = read_report(imported_run)
    written = (imported_run / "config.json").read_text(encoding="utf-8")

    (reference,) = RunConfig.model_validate_json(written).teacher.adapter.references
    assert report.teacher.adapter.references == (reference,)
    assert "imported from" in (imported_run / "report.html").read_text(encoding="utf-8")


def test_data_and_baseline_are_those_of_the_first_run(imported_run):
    assert {"data", "head-only"} <= set(read_report(imported_run).reused)
