"""A sweep for people: one table, one plot, one self-contained page, in a folder under ``runs``."""

import json
from dataclasses import asdict
from pathlib import Path

from pydantic import TypeAdapter

from pipeline.config.sweep import Varied
from pipeline.facts.arms import PLAIN, TEACHER, Arm
from pipeline.facts.latency import Rung
from pipeline.facts.sweep import StudentFile, Sweep, SweepQuality, SweepTimes
from pipeline.report.headline import TIMES, clearest, spaced, times_text
from pipeline.report.plots.drawing import data_uri
from pipeline.report.plots.front_plot import plot_front
from pipeline.report.plots.settings_plot import plot_settings
from pipeline.report.templates import megabytes, render_template, signed
from pipeline.store.files import write_atomic
from pipeline.tasks.all_tasks import find_task

SWEEP_SUFFIX = "-sweep"
PICKED = "picked"
"""In the folder: a link to the run of the student that was picked."""
_LOSSES = (0.5, 1.0, 2.0, 3.0)


def publish_sweep(runs_dir: Path, sweep: Sweep) -> Path:
    """Write page, plot, table and JSON of a sweep to a folder of its own; return it.

    A link to the run of an earlier pick is removed.
    """
    folder = runs_dir / f"{sweep.name}{SWEEP_SUFFIX}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / PICKED).unlink(missing_ok=True)
    picture = plot_front(sweep)
    varied = next((tuple(file.settings) for file in sweep.files), ())
    settings = plot_settings(sweep) if varied and len(sweep.front) else None
    rows = sweep_rows(sweep)
    write_atomic(folder / "front.png", picture)
    if settings is not None:
        write_atomic(folder / "settings.png", settings)
    write_atomic(folder / "table.json", json.dumps(rows, indent=2, ensure_ascii=False))
    write_atomic(folder / "sweep.json", _as_json(sweep))
    write_atomic(
        folder / "sweep.html",
        render_template(
            "sweep.html",
            sweep=sweep,
            rows=rows,
            fastest=fastest_by_loss(sweep),
            picture=data_uri(picture),
            settings=settings and data_uri(settings),
            varied=varied,
            trials=trial_rows(sweep),
            picked=f"{PICKED}/report.html",
        ),
    )
    return folder


def sweep_rows(sweep: Sweep) -> list[dict[str, str]]:
    """Return a row for every baseline and every student, slowest first, by column."""
    files = {file.name: file for file in sweep.files}
    rows = [_row(rung, files.get(rung.arm), sweep) for rung in sweep.times.rungs]
    refused = [_refused_row(file, rows[0]) for file in sweep.files if file.refused is not None]
    return rows + refused


def trial_rows(sweep: Sweep) -> list[dict[str, str]]:
    """Return a row for the config's own combination and each trial, in the order of their making.

    It is empty for a sweep of every combination.
    """
    if sweep.study is None:
        return []
    task = find_task(sweep.task)
    named = [("the config's own", sweep.study.own)]
    named += [(str(number), trial) for number, trial in enumerate(sweep.study.trials, 1)]
    return [
        {
            "trial": name,
            **{setting: _setting_text(value) for setting, value in trial.settings.items()},
            f"{task.words.distance}, absorbed": _number_text(trial.distance, ".4g"),
            f"validation {spaced(sweep.metric)}, absorbed": _number_text(trial.start_value),
            f"validation {spaced(sweep.metric)}, distilled": _number_text(trial.value),
            "": f"{trial.ended}: {trial.reason}" if trial.reason else trial.ended,
        }
        for name, trial in named
    ]


def fastest_by_loss(sweep: Sweep) -> list[dict[str, str]]:
    """Return the fastest student that loses at most so many points on the test split."""
    rungs = {rung.arm: rung for rung in sweep.times.rungs}
    rows = []
    for loss in _LOSSES:
        changes = {
            file.name: 100 * sweep.quality.files[file.name].change.values[sweep.metric]
            for file in sweep.files
            if file.refused is None
        }
        # A loss is a difference of two counts over the texts: 8 of 800 are not over one point.
        good = [name for name, change in changes.items() if change >= -loss - 1e-9]
        if not good:
            continue
        best = min(good, key=lambda name: rungs[name].mean_ms.value)
        faster = clearest(rungs[best].faster_than_torch, rungs[best].cpu_faster_than_torch)
        rows.append(
            {
                "loses at most": f"{loss:g} points",
                "fastest student": best,
                "loses": f"{signed(-changes[best], 2)} points",
                "faster than the teacher in PyTorch": str(faster or ""),
            }
        )
    return rows


def _row(rung: Rung, file: StudentFile | None, sweep: Sweep) -> dict[str, str]:
    task, metric = find_task(sweep.task), sweep.metric
    known = sweep.quality.files.get(rung.arm if file or rung.arm == PLAIN else TEACHER)
    if known is None:
        raise KeyError(f"{rung.arm} was timed, but its quality was not measured")
    low, high = known.test.intervals[metric]
    least, most = known.change.intervals[metric]
    is_teacher = file is None and rung.arm != PLAIN
    return {
        "model": rung.arm,
        "layers": ", ".join(map(str, file.layers)) if file else "",
        "MB": megabytes(file.size_bytes).removesuffix(" MB") if file else "",
        f"validation {spaced(metric)}": f"{known.validation.values[metric]:.4f}",
        f"test {spaced(metric)}": f"{known.test.values[metric]:.4f} ({low:.3f} to {high:.3f})",
        "points to the teacher": ""
        if is_teacher
        else f"{signed(100 * known.change.values[metric], 2)} "
        f"({signed(100 * least, 1)} to {signed(100 * most, 1)})",
        task.words.agreement: "" if is_teacher else f"{known.test.values[task.agreement]:.2%}",
        "wall ms": f"{rung.mean_ms.value:.2f}",
        "p95 wall ms": f"{rung.p95_ms:.2f}",
        f"{TIMES} PyTorch teacher, wall time": times_text(rung.faster_than_torch),
        f"{TIMES} PyTorch teacher, CPU time": times_text(rung.cpu_faster_than_torch),
        "": _note(rung.arm, sweep),
    }


def _refused_row(file: StudentFile, like: dict[str, str]) -> dict[str, str]:
    known = {
        "model": file.name,
        "layers": ", ".join(map(str, file.layers)),
        "MB": megabytes(file.size_bytes).removesuffix(" MB"),
        "": f"refused: {file.refused}",
    }
    return {column: known.get(column, "") for column in like}


def _note(arm: Arm, sweep: Sweep) -> str:
    if arm == sweep.pick.name:
        return "picked"
    return "on the front" if arm in sweep.front else ""


def _number_text(value: float | None, form: str = ".4f") -> str:
    return "" if value is None else f"{value:{form}}"


def _setting_text(value: Varied) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _as_json(sweep: Sweep) -> str:
    """Return all of it but where the files lie, which is this machine's business."""
    files = [
        {key: value for key, value in asdict(file).items() if key not in ("bundle", "runtime")}
        for file in sweep.files
    ]
    tree = {
        "name": sweep.name,
        "model": sweep.model,
        "task": sweep.task,
        "metric": sweep.metric,
        "asked": {"min_quality": sweep.min_quality, "max_latency_ms": sweep.max_latency_ms},
        "pick": asdict(sweep.pick),
        "front": sweep.front,
        "study": sweep.study and {"summary": sweep.study.summary, **asdict(sweep.study)},
        "files": files,
        "quality": TypeAdapter(SweepQuality).dump_python(sweep.quality, mode="json"),
        "times": TypeAdapter(SweepTimes).dump_python(sweep.times, mode="json"),
    }
    return json.dumps(tree, indent=2, ensure_ascii=False)
