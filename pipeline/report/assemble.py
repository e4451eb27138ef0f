"""A run's report, put together from the facts of its finished stages."""

from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, TypeVar

from pipeline.chain.finished import FinishedStages
from pipeline.config import AdapterConfig, AdapterSource, RunConfig
from pipeline.decisions.check import Decision
from pipeline.facts.data import DataFacts
from pipeline.facts.quality import EvaluateFacts, Measured
from pipeline.facts.training import TeacherFacts
from pipeline.inference.classifier import read_runtime
from pipeline.report.report import (
    DataPart,
    FidelityPart,
    ParityPart,
    QuantizedPart,
    Report,
    StudentPart,
    TeacherPart,
    TrainedPart,
)
from pipeline.store.stage import Artifact, Stage

_VERSIONED = ("adapter-distill", "torch", "transformers", "onnx", "onnxruntime", "prefect")
Part = TypeVar("Part", bound=TrainedPart)


def build_report(
    config: RunConfig, finished: FinishedStages, decision: Decision, *, run_id: str
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
    part: type[Part], finished: FinishedStages, stage: Stage[TeacherFacts], arm: str, **more: Any
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


def _student(finished: FinishedStages) -> StudentPart:
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


def _measured(finished: FinishedStages, arm: str) -> Mapping[str, Any]:
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


def _quantized(finished: FinishedStages) -> QuantizedPart | None:
    evaluation = finished.evaluation.facts
    if finished.quantized is None or not evaluation.student_fp32 or not evaluation.fidelity_fp32:
        return None
    return QuantizedPart(
        facts=finished.quantized.facts,
        student_fp32=evaluation.student_fp32,
        fidelity_fp32=evaluation.fidelity_fp32,
    )


def _artifacts(finished: FinishedStages) -> list[Artifact]:
    """Return every file of the run: the bundle's, and those of the stages under their links."""
    files = [
        Artifact(path=f"{stage.name}/{file.path}", sha256=file.sha256, size_bytes=file.size_bytes)
        for stage in finished.all
        for file in stage.artifacts
    ]
    # The bundle is that stage's student under a shorter name.
    bundle = [file for file in finished.shipped.artifacts if file.path.startswith("student/")]
    return bundle + files
