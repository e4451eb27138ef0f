import json
from collections import Counter
from pathlib import Path

import pytest

from flows.sweep import sweep_students
from pipeline.config.load import load_config
from pipeline.errors import InputError
from pipeline.inference.classifier import load_bundle, read_runtime
from pipeline.report.report import Report

pytestmark = [pytest.mark.xdist_group("prefect"), pytest.mark.slow]


SMOKE = Path("configs/smoke.toml")


@pytest.fixture(scope="module")
def settings(smoke_run, smoke_overrides):
    """Values of ``--set`` with configs/smoke.toml for a sweep beside the smoke run."""
    return [
        *smoke_overrides,
        f"runs_dir={smoke_run.parent}",
        "sweep.layers=[2, 1]",
        "sweep.distill.epochs=1",
        "sweep.distill.precision=fp32",
        "sweep.blocks=3",
        'sweep.precisions=["int8"]',
    ]


@pytest.fixture(scope="module")
def sweep_smoke(settings):
    """``sweep_smoke(*overrides, time_again=False)``: the folder of a sweep."""

    def sweep_smoke(*overrides, time_again=False):
        return sweep_students(load_config(SMOKE, [*settings, *overrides]), time_again=time_again)

    return sweep_smoke


@pytest.fixture(scope="module")
def swept(sweep_smoke):
    """The folder of a sweep of which the fastest is picked."""
    return sweep_smoke("gate.min_quality=0")


def read(folder, name="sweep.json"):
    return json.loads((folder / name).read_text(encoding="utf-8"))


def stage_folders(folder):
    return {path.name for path in (folder.parent / ".stages").glob("[a-z]*")}


def test_changed_axis_builds_what_depends_on_it_alone(sweep_smoke):
    own = {"sweep.layers": "[1]", "name": '"axis"'}
    settings = [f"{name}={value}" for name, value in own.items()]
    over = 'sweep.over={"distill.temperature" = [%s]}'
    first = sweep_smoke(*settings, over % "3.0")
    before = stage_folders(first)

    again = sweep_smoke(*settings, over % "3.0, 5.0")

    new = Counter(name.rpartition("-")[0] for name in stage_folders(again) - before)
    # Two students more, of two and of one layer, and the two measurements of all. A student whose
    # training kept its start has the files of another one, and shares what is made of them.
    most = Counter(["sweep-latency", "sweep-quality"] + 2 * ["distill", "export", "quantize"])
    assert new <= most
    assert new["distill"] == 2
    names = {file["name"] for file in read(again)["files"]}
    assert {"1 layer, temperature 5, int8", "2 layers, temperature 3, int8"} < names
    assert (again / "settings.png").is_file()


def test_trials_are_listed_and_files_are_made_of_finished_ones_alone(sweep_smoke):
    over = 'sweep.over={"absorb.texts" = { low = 8, high = 72 }}'
    own = ("sweep.layers=[2]", 'name="trials"', "absorb.exact=never", "sweep.prune=0.9", over)
    folder = sweep_smoke(*own, "sweep.trials=7", "gate.min_quality=0")

    found = read(folder)
    ended = Counter(trial["ended"] for trial in found["study"]["trials"])
    settings = [trial["settings"] for trial in found["study"]["trials"]]
    assert ended["finished"] >= 5
    assert ended["finished"] + ended["pruned"] == 7
    assert ended["pruned"] >= 1
    assert {json.dumps(file["settings"]) for file in found["files"]} == {
        json.dumps(trial["settings"])
        for trial in (found["study"]["own"], *found["study"]["trials"])
        if trial["ended"] == "finished"
    }
    assert found["study"]["summary"] in (folder / "sweep.html").read_text(encoding="utf-8")

    before = stage_folders(folder)
    again = read(sweep_smoke(*own, "sweep.trials=7", "gate.min_quality=0"))
    assert [trial["settings"] for trial in again["study"]["trials"]] == settings
    assert stage_folders(folder) == before


def test_every_file_is_timed_in_one_measurement_and_judged_on_both_splits(swept):
    found = read(swept)

    students = {"2 layers, int8", "1 layer, int8"}
    assert {rung["arm"] for rung in found["times"]["rungs"]} == {
        "teacher in PyTorch",
        "teacher",
        "plain",
        *students,
    }
    assert set(found["quality"]["files"]) == {"teacher", "plain", *students}
    for file in found["quality"]["files"].values():
        assert set(file["validation"]["values"]) >= {"accuracy", "agreement"}
        assert set(file["test"]["values"]) >= {"accuracy", "agreement"}


def test_whole_student_shares_the_runs_stages(swept, smoke_run):
    distilled = [name for name in stage_folders(swept) if name.startswith("distill-")]

    assert (smoke_run / "distill").resolve().name in distilled
    assert len([name for name in stage_folders(swept) if name.startswith("finetune-")]) == 1


def test_picked_student_is_a_run_like_any_other(swept):
    run = (swept / "picked").resolve()
    report = Report.model_validate_json((run / "report.json").read_text(encoding="utf-8"))

    assert read(swept)["pick"]["name"] in {"1 layer, int8", "2 layers, int8"}
    assert (run.parent / "latest").resolve() == run
    assert report.verdict == "passed"
    assert any(check.name == "accuracy of the student" for check in report.checks)
    assert read_runtime(run / "student").file == "model_quantized.onnx"
    assert load_bundle(run / "student").outputs([("a good film",)]).shape == (1, 2)


def test_second_sweep_uses_every_stage_again_and_picks_anew(swept, sweep_smoke):
    before = stage_folders(swept)
    times = read(swept)["times"]

    folder = sweep_smoke("gate.min_quality=1", "gate.max_latency_ms=0.001")

    found = read(folder)
    assert stage_folders(folder) == before
    assert found["times"] == times
    assert found["pick"]["name"] is None
    assert "No student meets" in found["pick"]["reason"]
    assert not (folder / "picked").exists()


def test_timing_can_be_repeated_alone(swept, sweep_smoke):
    before, times = stage_folders(swept), read(swept)["times"]

    folder = sweep_smoke(time_again=True)

    assert stage_folders(folder) == before
    assert read(folder)["times"] != times
    assert read(folder)["pick"]["name"] is None  # nothing was asked for


@pytest.mark.usefixtures("swept")
@pytest.mark.parametrize(
    ("limit", "expected"), [("gate.min_quality=0", 0), ("gate.max_latency_ms=0.0001", 3)]
)
def test_command_tells_the_table_the_pick_and_where_the_student_is(cli, settings, limit, expected):
    overrides = [part for each in (*settings, limit) for part in ("--set", each)]

    code, stdout, _ = cli("sweep", SMOKE, *overrides)

    told = " ".join(stdout.split())
    assert code == expected
    assert "teacher in PyTorch" in told
    assert "sweep.html" in told
    assert ("student: " in told) == (expected == 0)
    assert ("No student meets gate.max_latency_ms = 0.0001" in told) == (expected == 3)


def test_page_and_table_show_every_student(swept):
    page = (swept / "sweep.html").read_text(encoding="utf-8")
    models = [row["model"] for row in read(swept, "table.json")]

    assert len(models) == 5
    assert all(f">{name}<" in page for name in models)
    assert (swept / "front.png").read_bytes().startswith(b"\x89PNG")


def test_config_that_chooses_its_student_is_refused(sweep_smoke):
    with pytest.raises(InputError, match=r"student\.layers must be left out"):
        sweep_smoke("student.layers=[0]")
