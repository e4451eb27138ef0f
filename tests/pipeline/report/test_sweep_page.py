import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from pipeline.facts.latency import Conditions, Estimate, Rung
from pipeline.facts.quality import Measured
from pipeline.facts.sweep import (
    FileQuality,
    Pick,
    StudentFile,
    Sweep,
    SweepQuality,
    SweepStudy,
    SweepTimes,
    SweepTrial,
)
from pipeline.facts.variants import Runtime
from pipeline.report.sweep_page import (
    PICKED,
    fastest_by_loss,
    publish_sweep,
    sweep_rows,
    trial_rows,
)

# By arm: ms a text, test accuracy. The teacher in PyTorch has its ONNX file's.
ARMS = {
    "teacher in PyTorch": (20.0, None),
    "teacher": (10.0, 0.806),
    "plain": (9.0, 0.675),
    "6 layers, int8": (4.0, 0.803),
    "3 layers, int8": (2.0, 0.786),
}


def measured(accuracy, metric="accuracy", agreement="agreement"):
    values = {metric: accuracy, agreement: 0.9}
    return Measured(
        values=values, intervals={name: (v - 0.02, v + 0.02) for name, v in values.items()}
    )


def ratio(value):
    return Estimate(value=value, low=0.98 * value, high=1.02 * value)


def rung(arm, ms):
    faster = {"torch": ratio(20 / ms), "teacher": ratio(10 / ms)}
    return Rung(
        arm=arm,
        runtime="PyTorch" if "PyTorch" in arm else "onnxruntime",
        mean_ms=ratio(ms),
        p50_ms=ms,
        p95_ms=1.5 * ms,
        p99_ms=2 * ms,
        faster_than_torch=faster["torch"],
        faster_than_teacher=faster["teacher"],
        cpu_faster_than_torch=faster["torch"],
        cpu_faster_than_teacher=faster["teacher"],
    )


def student(layers, *, precision="int8", refused=None, settings=None):
    return StudentFile(
        name=f"{layers} layers, {precision}",
        student=f"{layers} layers",
        layers=tuple(range(layers)),
        precision=precision,
        settings=settings or {},
        way=precision,
        bundle=Path("/nowhere"),
        runtime=Runtime(),
        size_bytes=24_000_000,
        parameters=22_000_000,
        refused=refused,
    )


@pytest.fixture
def sweep():
    return Sweep(
        name="small",
        model="some/<b>model</b>",
        task="classification",
        metric="accuracy",
        files=(student(6), student(3), student(2, refused="It loses 3.00 points.")),
        quality=SweepQuality(
            texts={"validation": 1000, "test": 1000},
            confidence=0.95,
            files={
                arm: FileQuality(
                    validation=measured(accuracy + 0.01),
                    test=measured(accuracy),
                    change=measured(accuracy - 0.806),
                )
                for arm, (_, accuracy) in ARMS.items()
                if accuracy is not None
            },
        ),
        times=SweepTimes(
            rungs=tuple(rung(arm, ms) for arm, (ms, _) in ARMS.items()),
            blocks=10,
            texts=8,
            confidence=0.95,
            machine={"cpu": "some processor"},
            conditions=Conditions(
                load_before=0, load_after=0, steal=0, busy=0, involuntary_switches=0
            ),
        ),
        front=("3 layers, int8", "6 layers, int8"),
        pick=Pick(name="3 layers, int8", reason="3 layers, int8: the fastest that reaches 0.79"),
        min_quality=0.79,
        max_latency_ms=None,
    )


def test_every_arm_has_a_row_and_refused_files_say_why(sweep):
    rows = {row["model"]: row for row in sweep_rows(sweep)}

    assert list(rows) == [*ARMS, "2 layers, int8"]
    assert rows["teacher in PyTorch"]["test accuracy"] == rows["teacher"]["test accuracy"]
    assert rows["teacher"]["points to the teacher"] == ""
    assert rows["3 layers, int8"]["points to the teacher"].startswith("\N{MINUS SIGN}2.00 (")
    assert rows["3 layers, int8"][""] == "picked"
    assert rows["6 layers, int8"][""] == "on the front"
    assert rows["2 layers, int8"][""] == "refused: It loses 3.00 points."


def test_fastest_student_for_each_loss(sweep):
    found = {row["loses at most"]: row["fastest student"] for row in fastest_by_loss(sweep)}

    # 0.3 and 2 points are lost: the former by six layers, the latter, just met, by three.
    assert found == {
        "0.5 points": "6 layers, int8",
        "1 points": "6 layers, int8",
        "2 points": "3 layers, int8",
        "3 points": "3 layers, int8",
    }


def test_folder_holds_page_plot_table_and_numbers(sweep, tmp_path):
    folder = publish_sweep(tmp_path, sweep)

    page = (folder / "sweep.html").read_text(encoding="utf-8")
    numbers = json.loads((folder / "sweep.json").read_text(encoding="utf-8"))
    assert folder == tmp_path / "small-sweep"
    assert "&lt;b&gt;model" in page
    assert "the fastest that reaches 0.79" in page
    assert 'src="data:image/png' in page
    assert numbers["pick"]["name"] == "3 layers, int8"
    assert numbers["quality"]["texts"] == {"validation": 1000, "test": 1000}
    assert "/nowhere" not in json.dumps(numbers)
    assert json.loads((folder / "table.json").read_text(encoding="utf-8")) == sweep_rows(sweep)


def test_earlier_pick_is_not_taken_for_this_sweeps(sweep, tmp_path):
    folder = publish_sweep(tmp_path, sweep)
    (folder / PICKED).symlink_to(tmp_path)

    publish_sweep(tmp_path, replace(sweep, pick=Pick(name=None, reason="No student meets it.")))

    assert not (folder / PICKED).is_symlink()
    assert "nothing picked" in (folder / "sweep.html").read_text(encoding="utf-8")


def test_sweep_of_a_regression_speaks_of_correlations(sweep, tmp_path):
    rated = measured(0.8, "pearson", "teacher_correlation")
    quality = FileQuality(validation=rated, test=rated, change=rated)
    files = dict.fromkeys(sweep.quality.files, quality)
    found = replace(
        sweep,
        task="regression",
        metric="pearson",
        quality=replace(sweep.quality, files=files),
    )

    folder = publish_sweep(tmp_path, found)

    row = sweep_rows(found)[-2]
    assert row["test pearson"] == "0.8000 (0.780 to 0.820)"
    assert row["correlation with the teacher"] == "90.00%"
    assert "accuracy" not in (folder / "sweep.html").read_text(encoding="utf-8")


def test_varied_settings_are_drawn_and_named_on_the_page(sweep, tmp_path):
    varied = [
        replace(file, settings={"distill.temperature": 1.0 + number, "teacher.adapter.kind": kind})
        for number, (file, kind) in enumerate(zip(sweep.files, ("a", "b", "a"), strict=True))
    ]
    plain = publish_sweep(tmp_path / "plain", sweep)
    folder = publish_sweep(tmp_path / "varied", replace(sweep, files=tuple(varied)))

    assert not (plain / "settings.png").exists()
    assert 'id="settings"' not in (plain / "sweep.html").read_text(encoding="utf-8")
    with Image.open(folder / "settings.png") as picture:
        picture.verify()
    page = (folder / "sweep.html").read_text(encoding="utf-8")
    assert "through distill.temperature, teacher.adapter.kind, its layers" in page
    found = json.loads((folder / "sweep.json").read_text(encoding="utf-8"))
    assert found["files"][1]["settings"] == {
        "distill.temperature": 2.0,
        "teacher.adapter.kind": "b",
    }


def trial(rate, *, distance=0.0123456, value=None, ended="finished", reason=""):
    settings = {"finetune.learning_rate": rate, "absorb.exact": "free"}
    return SweepTrial(
        settings=settings,
        distance=distance,
        start_value=None if distance is None else 0.79,
        value=value,
        ended=ended,
        reason=reason,
    )


@pytest.fixture
def study():
    return SweepStudy(
        wanted=3,
        own=trial(0.002, value=0.80),
        trials=(
            trial(0.004, value=0.81),
            trial(0.1, distance=0.9, ended="pruned", reason="KL 0.9, <too far>"),
            trial(1e30, distance=None, ended="failed", reason="The loss is not finite"),
        ),
    )


def test_every_trial_has_a_row_and_says_how_it_ended(sweep, study):
    rows = trial_rows(replace(sweep, study=study))

    assert [row["trial"] for row in rows] == ["the config's own", "1", "2", "3"]
    assert rows[1] == {
        "trial": "1",
        "finetune.learning_rate": "0.004",
        "absorb.exact": "free",
        "KL to the teacher (nats), absorbed": "0.01235",
        "validation accuracy, absorbed": "0.7900",
        "validation accuracy, distilled": "0.8100",
        "": "finished",
    }
    assert [row[""] for row in rows[2:]] == [
        "pruned: KL 0.9, <too far>",
        "failed: The loss is not finite",
    ]
    assert trial_rows(sweep) == []


def test_page_and_numbers_hold_the_trials(sweep, study, tmp_path):
    summary = "3 trials: 1 finished, 1 pruned after absorption, 1 failed."
    plain = publish_sweep(tmp_path / "plain", sweep)
    folder = publish_sweep(tmp_path / "trials", replace(sweep, study=study))

    page = (folder / "sweep.html").read_text(encoding="utf-8")
    found = json.loads((folder / "sweep.json").read_text(encoding="utf-8"))["study"]
    assert summary in page
    assert "pruned: KL 0.9, &lt;too far&gt;" in page
    assert found["summary"] == summary
    assert [each["ended"] for each in found["trials"]] == ["finished", "pruned", "failed"]
    assert 'id="trials"' not in (plain / "sweep.html").read_text(encoding="utf-8")
    assert json.loads((plain / "sweep.json").read_text(encoding="utf-8"))["study"] is None
