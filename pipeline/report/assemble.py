"""A run's report, put together from the facts of its finished stages."""

import shlex
from datetime import UTC, datetime
from importlib.metadata import version

from pipeline.chain.finished import FinishedStages
from pipeline.config import RegistryPlace, RunConfig
from pipeline.decisions.check import Decision
from pipeline.errors import without_password
from pipeline.report.report import Report
from pipeline.store.stage import Artifact

_VERSIONED = ("adapter-distill", "torch", "transformers", "onnx", "onnxruntime", "prefect")


def build_report(
    config: RunConfig, finished: FinishedStages, decision: Decision, *, run_id: str
) -> Report:
    """Return the report of a run."""
    return Report(
        next_step=_next_step(config, decision, run_id),
        run_id=run_id,
        name=config.name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        task=finished.task.name,
        verdict="passed" if decision.passed else "refused",
        reasons=decision.reasons,
        warnings=decision.warnings,
        checks=decision.checks,
        source=config.data.train,
        model=config.teacher.model,
        data=finished.data.facts,
        head_only=finished.head_only.facts,
        teacher=finished.teacher.facts,
        student=finished.student.facts,
        absorbed=finished.absorbed.facts if finished.absorbed else None,
        exported=finished.exported.facts,
        quantized=finished.quantized.facts if finished.quantized else None,
        evaluation=finished.evaluation.facts,
        benchmark=finished.benchmark.facts,
        compute=finished.compute,
        versions={package: version(package) for package in _VERSIONED},
        artifacts=tuple(_artifacts(finished)),
        timing_s={stage.name: round(stage.seconds, 2) for stage in finished.all},
        reused=tuple(stage.name for stage in finished.all if stage.reused),
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


def _next_step(config: RunConfig, decision: Decision, run_id: str) -> str:
    if not decision.passed:
        return (
            "Change what the reasons name and run again: finished stages are reused. To accept a "
            "value knowingly, set its limit under [gate]."
        )
    place = f" --runs-dir {shlex.quote(str(config.runs_dir))}"
    options = "" if config.runs_dir == RegistryPlace().runs_dir else place
    if config.release.registry:
        options += f" --registry {shlex.quote(without_password(config.release.registry))}"
    command = f"adapter-distill models promote {config.name}{options}"
    if not config.release.register_run:
        run = shlex.quote(str(config.runs_dir / run_id))
        command = f"adapter-distill models register {run}{options}, then {command}"
    return (
        f"To make it the champion, unless this run did: {command}. In Prefect's UI: Deployments, "
        "promote, Run."
    )
