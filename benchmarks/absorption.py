"""Closeness of absorbed and of distilled students to their teacher, with the seconds of each.

Trains the config's teacher, then makes students of it. They are absorbed from several numbers of
unlabelled texts, distilled from the plain backbone, or absorbed and then distilled. Each is made
with and without half of the layers. All are stages of the store in ``runs_dir``, so that a second
run only measures. Each is compared with the teacher on the test split. Rows go to a JSON file and
to pictures beside it.

    python -m benchmarks.absorption configs/demo.toml --out docs/absorption/rotten-tomatoes
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import matplotlib.pyplot as plt
import numpy as np
import typer

from pipeline.chain.chain import teacher_stages
from pipeline.chain.parts import TeacherStages
from pipeline.chain.program import drive, perform
from pipeline.chain.stage_names import STAGES
from pipeline.chain.student_steps import absorb_step, distill_step, soft_targets_step
from pipeline.checkpoints.pretrained import Checkpoint
from pipeline.checkpoints.teachers import load_teacher
from pipeline.checkpoints.tokenizers import load_tokenizer
from pipeline.checkpoints.weights import load_model
from pipeline.config import RunConfig
from pipeline.config.load import load_config
from pipeline.store.files import write_atomic
from pipeline.store.store import Store
from pipeline.texts.tables import Split, read_split
from pipeline.training.encoding import compute_outputs, encode

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """A teacher, and what is measured against it."""

    config: RunConfig
    store: Store
    stages: TeacherStages
    test: Split
    outputs: np.ndarray
    """The teacher's, on the test split."""

    @classmethod
    def of(cls, config: RunConfig) -> "Study":
        """Train the teacher, where that is not done, and ask it about the test split."""
        store = Store(root=config.runs_dir / STAGES)
        stages = drive(teacher_stages(config), partial(perform, store))
        test = read_split(stages.data.folder, "test")
        context = stages.context
        tokenizer = load_tokenizer(context.backbone, max_length=context.max_length)
        examples = encode(tokenizer, test.texts, max_length=context.max_length)
        model = load_teacher(context.backbone, stages.teacher.folder)
        objective = context.task.objective()
        outputs = compute_outputs(model, objective, tokenizer, examples, title="teacher")
        return cls(config=config, store=store, stages=stages, test=test, outputs=outputs)

    def measure(self, folder: Path) -> dict[str, float]:
        """Return a student's closeness to the teacher and its main metric, on the test split."""
        context = self.stages.context
        task, objective = context.task, context.task.objective()
        checkpoint = Checkpoint(folder=folder, digest="")
        student = load_model(checkpoint, objective, labels=self.stages.data.facts.labels)
        tokenizer = load_tokenizer(context.backbone, max_length=context.max_length)
        examples = encode(tokenizer, self.test.texts, max_length=context.max_length)
        outputs = compute_outputs(student, objective, tokenizer, examples, title="student")
        quality = task.metrics(outputs, self.test.labels)
        metric = task.main_metric
        return {**task.fidelity(outputs, self.outputs), metric: quality[metric]}

    def student(
        self,
        *,
        absorb: int | None = None,
        distill: int | None = None,
        layers: tuple[int, ...] | None = None,
        learning_rate: float = 1e-4,
    ) -> Row:
        """Make a student, absorbed from so many texts, distilled on so many, or both."""
        plain = self.config.model_dump()
        plain["student"]["layers"] = layers
        plain["absorb"]["texts"] = absorb or plain["absorb"]["texts"]
        plain["distill"] |= {
            "texts": distill or plain["distill"]["texts"],
            "learning_rate": learning_rate,
            "epochs": 1,
            "evaluations_per_epoch": 2,
        }
        config = RunConfig.model_validate(plain)
        row: Row = {
            "absorb": absorb,
            "distill": distill,
            "layers": layers,
            "learning_rate": learning_rate if distill else None,
        }
        context, data, teacher = self.stages.context, self.stages.data, self.stages.teacher
        absorbed = None
        seconds = 0.0
        if absorb is not None:
            absorbed = self.store.ensure(absorb_step(config, context, data, teacher))
            seconds += absorbed.seconds
            row["sites"] = [
                {"layer": fit.layer, "site": fit.site, "r2": fit.r2} for fit in absorbed.facts.sites
            ]
            folder = absorbed.folder
        if distill is not None:
            targets = self.store.ensure(soft_targets_step(config, context, data, teacher))
            trained = self.store.ensure(
                distill_step(config, context, data, teacher, targets, absorbed)
            )
            seconds += targets.seconds + trained.seconds
            row["kept"] = trained.facts.kept
            folder = trained.folder
        return row | {"seconds": round(seconds, 1), **self.measure(folder)}


def variants(study: Study, sizes: list[int], half: tuple[int, ...]) -> Iterator[Row]:
    """Yield a row for every student."""
    for size in sizes:
        yield study.student(absorb=size)
    most = sizes[-1]
    for texts in (most // 2, most):
        yield study.student(distill=texts)
    yield study.student(absorb=most, distill=most, learning_rate=5e-6)
    if not half:
        return
    yield study.student(absorb=most, layers=half)
    yield study.student(distill=most, layers=half)
    yield study.student(absorb=most, distill=most, layers=half, learning_rate=3e-5)


def peak_memory(study: Study, texts: int) -> float:
    """Return the peak resident memory, in MiB, of absorbing so many texts in a fresh process."""
    train = read_split(study.stages.data.folder, "train").head(texts)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "texts.jsonl"
        path.write_text("\n".join(map(json.dumps, train.texts)), encoding="utf-8")
        command = [sys.executable, "-m", "flows.cli.main", "absorb"]
        command += [str(study.stages.teacher.folder), "--texts", str(path), "--jsonl"]
        command += ["--out", str(Path(folder) / "student")]
        # A process between: what a child inherits of this one's peak would hide its own.
        between = (
            "import resource as r, subprocess as s, sys\n"
            "s.run(sys.argv[1:], check=True, stdout=s.DEVNULL)\n"
            "print(r.getrusage(r.RUSAGE_CHILDREN).ru_maxrss)"
        )
        found = subprocess.run(
            [sys.executable, "-c", between, *command], check=True, stdout=subprocess.PIPE, text=True
        )
    return int(found.stdout) / 1024


def draw(rows: list[Row], agreement: str, path: Path) -> None:
    """Draw R² by site, agreement by number of texts, and agreement by time."""
    figure, (sites, texts, time) = plt.subplots(1, 3, figsize=(13, 3.6), layout="constrained")
    full = [row for row in rows if row["layers"] is None]
    absorbed = [row for row in full if row["absorb"] and not row["distill"]]
    for name, marker in (("attention", "o"), ("ffn", "s")):
        fits = [fit for fit in absorbed[-1]["sites"] if fit["site"] == name]
        sites.plot([f["layer"] for f in fits], [f["r2"] for f in fits], marker=marker, label=name)
    sites.set(title="Held-out R² by site", xlabel="layer", ylim=(0, 1))
    sites.legend(frameon=False)
    agreements = [100 * row[agreement] for row in absorbed]
    texts.plot([row["absorb"] for row in absorbed], agreements, marker="o")
    texts.set(title="Agreement before any gradient step, %", xlabel="unlabelled texts")
    texts.set_xscale("log")
    texts.set_xticks([row["absorb"] for row in absorbed], [f"{r['absorb']:,}" for r in absorbed])
    texts.minorticks_off()
    kinds = {
        "absorb": absorbed,
        "distil": [row for row in full if row["distill"] and not row["absorb"]],
        "both": [row for row in full if row["distill"] and row["absorb"]],
    }
    for (name, points), marker in zip(kinds.items(), "osD", strict=True):
        values = [100 * row[agreement] for row in points]
        time.plot([row["seconds"] for row in points], values, marker, label=name)
    time.set(title="Agreement, %, by time", xlabel="seconds")
    time.legend(frameon=False)
    for panel in (sites, texts, time):
        panel.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)


def main(
    config: Annotated[Path, typer.Argument(help="TOML file of the teacher and its data.")],
    out: Annotated[Path, typer.Option(help="Path of the results, without ending.")],
    overrides: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE")] = None,
    sizes: Annotated[str, typer.Option(help="Numbers of unlabelled texts.")] = "250,1000,4000",
    layers: Annotated[
        str, typer.Option(help="Layers of the small student; none leaves it out.")
    ] = "0,2,4",
) -> None:
    """Measure absorption on a config's teacher."""
    study = Study.of(load_config(config, overrides or []))
    counts = [int(size) for size in sizes.split(",")]
    task = study.stages.context.task
    quality = task.metrics(study.outputs, study.test.labels)
    result: Row = {"teacher": quality, "test_texts": len(study.test), "rows": []}
    rows: list[Row] = []
    out.parent.mkdir(parents=True, exist_ok=True)
    for row in variants(study, counts, tuple(map(int, filter(None, layers.split(","))))):
        rows.append(row)
        print({name: value for name, value in row.items() if name != "sites"}, flush=True)
        write_atomic(out.with_suffix(".json"), json.dumps(result | {"rows": rows}, indent=1))
    memory = {size: round(peak_memory(study, size)) for size in (counts[-1] // 2, counts[-1])}
    result |= {"rows": rows, "peak_memory_mib": memory}
    write_atomic(out.with_suffix(".json"), json.dumps(result, indent=1))
    draw(rows, task.agreement, out.with_suffix(".png"))


if __name__ == "__main__":
    typer.run(main)
