"""Registration of a finished run: its settings, its measurements and its student.

MLflow gets settings as parameters, final numbers and training curves as metrics, and report and
page as artifacts. The student's bundle becomes a new version, with its digests, verdict and
measured quality as tags. The bundle has an ``MLmodel`` file (signature, ONNX flavour) there, so
that MLflow's own loaders read it. A run is registered once only.
"""

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.inference.classifier import load_bundle
from pipeline.release.aliases import CHALLENGER
from pipeline.release.bundle import GOLDEN, MANIFEST, SBOM, Manifest, verify_bundle
from pipeline.release.registry import (
    BUNDLE,
    REGISTERED_OUTPUTS,
    REPORT,
    Registry,
    Version,
    check_name,
)
from pipeline.release.report_view import PARTS, ReportView, read_report
from pipeline.store.digests import sha256_file, sha256_json
from pipeline.store.json_files import read_object
from pipeline.tasks.all_tasks import find_task

_ARTIFACTS = (REPORT, "report.html", "config.json")
_LONGEST_PARAMETER, _PARAMETERS_A_CALL, _METRICS_A_CALL = 6000, 100, 1000
"""MLflow's own limits."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Logged:
    """Files of a run, read before anything is written to the registry."""

    settings: tuple[tuple[str, object], ...]
    """Dotted key and value of everything in its config."""
    numbers: tuple[tuple[str, float, int], ...]
    """Name, value and step of everything that was measured."""


def register(registry: Registry, run: Path) -> Version:
    """Return the version of a run, creating it where the run is not registered yet.

    A student that passed its gate becomes the challenger.

    Args:
        registry: Where to.
        run: Folder of a finished run, such as runs/latest.

    Raises:
        InputError: when the folder is not a finished run, or something in it is damaged.
    """
    report = read_report(run / REPORT)
    check_name(report.name)
    manifest = verify_bundle(run / BUNDLE)
    digest = sha256_file(run / BUNDLE / MANIFEST)
    logged = read_run(run, report)
    with registry.lock(report.name):
        for version in registry.versions(report.name):
            tags = version.tags
            if (tags.get("run_id"), tags.get("bundle_sha256")) == (report.run_id, digest):
                return version
        with registry.talking():
            source = _log_run(registry, run, report, logged, manifest.model)
            digests = {"bundle_sha256": digest, "student_sha256": _student_digest(manifest)}
            number = _create_version(registry, run, report, source, digests)
        if report.verdict == "passed":
            registry.point(report.name, CHALLENGER, number)
    return registry.find(report.name, str(number))


def _log_run(
    registry: Registry, run: Path, report: ReportView, logged: Logged, model: str
) -> tuple[str, str]:
    """Log a run; return its MLflow id and the place of its bundle."""
    client = registry.client
    experiment = client.get_experiment_by_name(report.name)
    if experiment is None:
        place = registry.artifacts.as_uri() if registry.artifacts else None
        experiment_id = client.create_experiment(report.name, artifact_location=place)
    else:
        experiment_id = experiment.experiment_id
    started = client.create_run(experiment_id, run_name=report.run_id)
    run_id = started.info.run_id
    try:
        _log_numbers(registry, logged, run_id, int(started.info.start_time))
        for name in _ARTIFACTS:
            if (run / name).is_file():
                client.log_artifact(run_id, str(run / name))
        _log_outputs(registry, run, run_id)
        client.log_artifacts(run_id, str(run / BUNDLE), BUNDLE)
        client.log_text(run_id, _mlmodel(run / BUNDLE, run_id, model), f"{BUNDLE}/MLmodel")
    except BaseException:
        client.set_terminated(run_id, "FAILED")
        raise
    client.set_terminated(run_id)
    return run_id, f"{started.info.artifact_uri}/{BUNDLE}"


def _log_outputs(registry: Registry, run: Path, run_id: str) -> None:
    """Log the outputs on the test split, whatever the version that ran called their file."""
    target = Path(REGISTERED_OUTPUTS)
    for name in ("outputs.npz", target.name):
        found = run / "evaluate" / name
        if found.is_file():
            with tempfile.TemporaryDirectory() as folder:
                copy = shutil.copyfile(found, Path(folder) / target.name)
                registry.client.log_artifact(run_id, str(copy), str(target.parent))
            return


def _create_version(
    registry: Registry,
    run: Path,
    report: ReportView,
    source: tuple[str, str],
    digests: dict[str, str],
) -> int:
    from mlflow.exceptions import MlflowException

    run_id, place = source
    task = find_task(report.task)
    tags = {
        "run_id": report.run_id,
        **digests,
        "report_sha256": sha256_file(run / REPORT),
        "data_digest": report.data_digest,
        "verdict": report.verdict,
        "reasons": " ".join(report.reasons)[:4900],
        "task": report.task,
        task.agreement: f"{report.fidelity[task.agreement]:.6f}",
        task.distance: f"{report.fidelity[task.distance]:.6g}",
    }
    for name, value in report.student.values.items():
        low, high = report.student.intervals[name]
        tags[name] = f"{value:.6f} [{low:.6f}, {high:.6f}]"
    try:
        registry.client.create_registered_model(report.name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    created = registry.client.create_model_version(report.name, place, run_id, tags=tags)
    return int(created.version)


def _student_digest(manifest: Manifest) -> str:
    """Return the digest of what answers: the same for the same student of two runs."""
    files = [file for file in manifest.files if file.path not in ("README.md", GOLDEN, SBOM)]
    return sha256_json([[file.path, file.sha256] for file in files])


def read_run(run: Path, report: ReportView) -> Logged:
    """Return what a finished run was asked and what it measured.

    Raises:
        InputError: when its config is damaged.
    """
    advice = "Give the folder of a finished run, such as runs/latest, or run it again."
    config = run / "config.json"
    settings = read_object(config, expected="a config", advice=advice) if config.is_file() else {}
    numbers = tuple((key, float(value), int(step)) for key, value, step in _numbers(report))
    return Logged(settings=tuple(_leaves(settings)), numbers=numbers)


def _log_numbers(registry: Registry, logged: Logged, run_id: str, now_ms: int) -> None:
    from mlflow.entities import Metric, Param

    params = [
        Param(key, str(value)[:_LONGEST_PARAMETER])
        for key, value in logged.settings
        if value is not None
    ]
    metrics = [Metric(key, value, now_ms, step) for key, value, step in logged.numbers]
    for start in range(0, len(params), _PARAMETERS_A_CALL):
        registry.client.log_batch(run_id, params=params[start : start + _PARAMETERS_A_CALL])
    for start in range(0, len(metrics), _METRICS_A_CALL):
        registry.client.log_batch(run_id, metrics=metrics[start : start + _METRICS_A_CALL])


def _numbers(report: ReportView) -> Iterator[tuple[str, float, int]]:
    """Yield (name, value, step) of what a report measured: results at step 0, curves by step."""
    for arm, quality in report.quality.items():
        for name, value in quality.values.items():
            yield f"{PARTS[arm]}/{name}", value, 0
    for arm, curve in report.curves.items():
        for point in curve:
            trained = {"train_loss": point.train_loss, "learning_rate": point.learning_rate}
            for name, number in trained.items():
                if number is not None:
                    yield f"{PARTS[arm]}/training/{name}", number, point.step
            for name, value in (point.validation or {}).items():
                yield f"{PARTS[arm]}/validation/{name}", value, point.step
    for name, value in report.fidelity.items():
        yield f"fidelity/{name}", value, 0
    for entry in report.latency:
        cell = f"{entry.arm.replace(' ', '_')}_b{entry.batch}_t{entry.length}"
        cell += f"_after_{entry.past}" if entry.past else ""
        yield f"latency/{cell}_ms", entry.median_ms, 0
        yield f"latency/{cell}_ratio", entry.ratio_to_plain, 0


def _leaves(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    """Yield (dotted key, value) of nested tables; lists stay whole."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}" if path else key)
    else:
        yield path, value


def _mlmodel(bundle: Path, run_id: str, model: str) -> str:
    """Return MLflow's description of the bundle: signature and ONNX flavour."""
    import numpy as np
    import onnx
    from mlflow.models import Model
    from mlflow.models.signature import ModelSignature
    from mlflow.types import Schema, TensorSpec

    session = load_bundle(bundle, threads=1).session
    int64, float32 = np.dtype(np.int64), np.dtype(np.float32)
    signature = ModelSignature(
        inputs=Schema([TensorSpec(int64, (-1, -1), each.name) for each in session.get_inputs()]),
        outputs=Schema(
            [
                TensorSpec(
                    float32,
                    tuple(size if isinstance(size, int) else -1 for size in each.shape),
                    each.name,
                )
                for each in session.get_outputs()
            ]
        ),
    )
    description = Model(
        artifact_path=BUNDLE,
        run_id=run_id,
        signature=signature,
        flavors={
            "onnx": {
                "onnx_version": onnx.__version__,
                "data": model,
                "providers": ["CPUExecutionProvider"],
                "options": None,
                "code": None,
            }
        },
    )
    text: str = description.to_yaml()
    return text
