"""The last stage: a run's folder with its config, report, page and the student's bundle.

The folder is built beside its place and renamed when it is whole; then ``latest`` points to it.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock

from pipeline.artifacts import Artifact, Stage, link_or_copy, point_to, sha256_file, write_atomic
from pipeline.checks import Decision
from pipeline.config import AdapterConfig, AdapterSource, RunConfig
from pipeline.inference import read_runtime
from pipeline.quantisation.records import QuantizeFacts
from pipeline.records import (
    AbsorbFacts,
    BenchmarkFacts,
    DataFacts,
    EvaluateFacts,
    ExportFacts,
    Measured,
    StudentFacts,
    TeacherFacts,
)
from pipeline.release.bundle import GOLDEN, MANIFEST, SBOM, seal_bundle
from pipeline.reporting.page import draw_plots, render_card, render_page
from pipeline.reporting.report import (
    DataPart,
    FidelityPart,
    ParityPart,
    QuantizedPart,
    Report,
    StudentPart,
    TeacherPart,
    TrainedPart,
)

PLOTS = "plots"
"""Folder of the report's plots, inside a run's."""
_VERSIONED = ("adapter-distill", "torch", "transformers", "onnx", "onnxruntime", "prefect")
Part = TypeVar("Part", bound=TrainedPart)


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """Every finished stage of a run."""

    data: Stage[DataFacts]
    head_only: Stage[TeacherFacts]
    teacher: Stage[TeacherFacts]
    absorbed: Stage[AbsorbFacts] | None
    student: Stage[StudentFacts]
    exported: Stage[ExportFacts]
    quantized: Stage[QuantizeFacts] | None
    evaluation: Stage[EvaluateFacts]
    benchmark: Stage[BenchmarkFacts]
    others: Sequence[Stage[Any]]
    """Stages whose facts the report does not show."""

    @property
    def all(self) -> tuple[Stage[Any], ...]:
        """All of them, in the order of the chain."""
        stages = (
            self.data,
            self.head_only,
            self.teacher,
            self.absorbed,
            *self.others,
            self.student,
            self.exported,
            self.quantized,
            self.evaluation,
            self.benchmark,
        )
        return tuple(stage for stage in stages if stage is not None)

    @property
    def shipped(self) -> Stage[Any]:
        """The stage whose ``student`` is the bundle."""
        return self.quantized or self.exported

    @property
    def shipped_arm(self) -> str:
        """The benchmark's name of the file that ships."""
        return self.quantized.facts.arm if self.quantized else "student"


def publish(config: RunConfig, finished: Finished, decision: Decision) -> Path:
    """Write ``runs_dir/<run_id>`` and point ``runs_dir/latest`` to it; return the folder."""
    config.runs_dir.mkdir(parents=True, exist_ok=True)
    # One run at a time, so that what is half-written now was left by a killed one.
    with FileLock(config.runs_dir / ".publish.lock"):
        for left in config.runs_dir.glob(_partial("[0-9]*-[0-9]*-*")):
            shutil.rmtree(left)
        return _publish(config, finished, decision)


def _publish(config: RunConfig, finished: Finished, decision: Decision) -> Path:
    root = config.runs_dir
    run_id = _new_run_id(root, config.name)
    partial = root / _partial(run_id)
    partial.mkdir()
    try:
        for stage in finished.all:
            (partial / stage.name).symlink_to(os.path.relpath(stage.folder, partial))
        bundle = partial / "student"
        shutil.copytree(finished.shipped.folder / "student", bundle, copy_function=link_or_copy)
        report = build_report(config, finished, decision, run_id=run_id)
        write_atomic(bundle / "README.md", render_card(report))
        seal_bundle(bundle)
        written = [
            _describe(bundle / name, partial) for name in ("README.md", GOLDEN, SBOM, MANIFEST)
        ]
        report = report.model_copy(update={"artifacts": (*report.artifacts, *written)})
        write_atomic(partial / "config.json", config.model_dump_json(indent=2))
        pictures = draw_plots(report)
        (partial / PLOTS).mkdir()
        for name, png in pictures.items():
            write_atomic(partial / PLOTS / f"{name}.png", png)
        write_atomic(partial / "report.html", render_page(report, pictures))
        write_atomic(partial / "report.json", report.model_dump_json(indent=2))
        folder = root / run_id
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    point_to(root / "latest", folder)
    return folder


def build_report(
    config: RunConfig, finished: Finished, decision: Decision, *, run_id: str
) -> Report:
    """Return the report of a run."""
    evaluation, exported = finished.evaluation.facts, finished.exported.facts
    bench = finished.benchmark.facts
    return Report(
        run_id=run_id,
        name=config.name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        verdict="passed" if decision.passed else "refused",
        reasons=decision.reasons,
        warnings=decision.warnings,
        checks=decision.checks,
        data=_data(config, finished.data.facts),
        head_only=_trained(TrainedPart, finished, finished.head_only, "plain"),
        teacher=_trained(
            TeacherPart,
            finished,
            finished.teacher,
            "teacher",
            model=config.teacher.model,
            adapter=_described(config.teacher.adapter),
            warnings=finished.teacher.facts.warnings,
        ),
        student=_student(finished),
        fidelity=_fidelity(evaluation),
        classes=evaluation.classes,
        quantized=_quantized(finished),
        parity=ParityPart(
            max_abs_difference=max(check.max_abs_difference for check in exported.parity),
            checks=exported.parity,
        ),
        overhead=bench.verdict,
        graphs=bench.graphs,
        latency=bench.latency,
        ladder=bench.ladder,
        costs=bench.costs,
        confidence=evaluation.confidence,
        machine=bench.machine,
        conditions=bench.conditions,
        versions={package: version(package) for package in _VERSIONED},
        artifacts=tuple(_artifacts(finished)),
        timing_s={stage.name: round(stage.seconds, 2) for stage in finished.all},
        reused=tuple(stage.name for stage in finished.all if stage.reused),
    )


def _described(adapter: AdapterConfig | AdapterSource) -> dict[str, str | int | float | bool]:
    """Return the settings of the adapters, or where they came from."""
    if isinstance(adapter, AdapterConfig):
        return adapter.model_dump()
    references = adapter.references
    if adapter.names is not None:
        references = tuple(map(" = ".join, zip(adapter.names, references, strict=True)))
    described: dict[str, str | int | float | bool] = {"imported from": ", ".join(references)}
    for setting in ("together", "fusion", "drop_layers"):
        if value := getattr(adapter, setting):
            described[setting] = value
    return described


def _data(config: RunConfig, facts: DataFacts) -> DataPart:
    return DataPart(
        digest=facts.digest,
        texts_digest=facts.texts_digest,
        source=config.data.train,
        text_columns=facts.text_columns,
        labels=facts.labels,
        sizes=facts.sizes,
        label_counts=facts.label_counts,
        dropped_duplicates=facts.dropped_duplicates,
        conflicting_labels=facts.conflicting_labels,
        dropped_empty=facts.dropped_empty,
    )


def _trained(
    part: type[Part], finished: Finished, stage: Stage[TeacherFacts], arm: str, **more: Any
) -> Part:
    """Return a part with the facts of a training on a frozen backbone, and its ONNX file's."""
    facts = stage.facts
    return part(
        **_measured(finished, arm),
        total_parameters=facts.total_parameters,
        curve=facts.outcome.curve,
        trainable_parameters=facts.trainable_parameters,
        trainable_percent=facts.trainable_percent,
        trainable_names=facts.trainable_names,
        backbone_sha256=facts.backbone_sha256,
        **more,
    )


def _student(finished: Finished) -> StudentPart:
    facts = finished.student.facts
    return StudentPart(
        **_measured(finished, "student"),
        total_parameters=facts.total_parameters,
        curve=facts.outcome.curve,
        start=facts.start,
        kept=facts.kept,
        start_validation=facts.start_validation,
        validation=facts.validation,
        absorbed=finished.absorbed.facts if finished.absorbed else None,
    )


def _measured(finished: Finished, arm: str) -> Mapping[str, Any]:
    measured: Measured = getattr(finished.evaluation.facts, arm)
    stage = finished.shipped if arm == "student" else finished.exported
    bundle = stage.folder / arm
    return {
        "metrics": measured.values,
        "intervals": measured.intervals,
        "onnx_bytes": (bundle / "onnx" / read_runtime(bundle).file).stat().st_size,
    }


def _fidelity(evaluation: EvaluateFacts) -> FidelityPart:
    return FidelityPart(
        **evaluation.fidelity.values,
        intervals=evaluation.fidelity.intervals,
        change=evaluation.change.values,
        change_intervals=evaluation.change.intervals,
    )


def _quantized(finished: Finished) -> QuantizedPart | None:
    evaluation = finished.evaluation.facts
    if finished.quantized is None or not evaluation.student_fp32 or not evaluation.fidelity_fp32:
        return None
    return QuantizedPart(
        facts=finished.quantized.facts,
        student_fp32=evaluation.student_fp32,
        fidelity_fp32=evaluation.fidelity_fp32,
    )


def _artifacts(finished: Finished) -> list[Artifact]:
    """Return every file of the run: the bundle's, and those of the stages under their links."""
    files = [
        Artifact(path=f"{stage.name}/{file.path}", sha256=file.sha256, size_bytes=file.size_bytes)
        for stage in finished.all
        for file in stage.artifacts
    ]
    # The bundle is that stage's student under a shorter name.
    bundle = [file for file in finished.shipped.artifacts if file.path.startswith("student/")]
    return bundle + files


def _describe(path: Path, root: Path) -> Artifact:
    return Artifact(
        path=path.relative_to(root).as_posix(),
        sha256=sha256_file(path),
        size_bytes=path.stat().st_size,
    )


def _partial(run_id: str) -> str:
    return f".{run_id}.partial"


def _new_run_id(root: Path, name: str) -> str:
    """Return the time and the name, with a number where another run took that."""
    stem = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{name}"
    number = 1
    run_id = stem
    while (root / run_id).exists():
        number += 1
        run_id = f"{stem}-{number}"
    return run_id
