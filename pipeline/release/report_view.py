"""View of a run's report for the registry, whichever version of the software wrote it.

Schema 4 holds the stages' facts. Until schema 3 a report copied them into parts of its own, and
every task was a classification. One validator turns either into the view.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, TypeAdapter, model_validator

from pipeline.config.task import TaskName
from pipeline.decisions.check import Check
from pipeline.facts.arms import PLAIN, STUDENT, TEACHER, Arm
from pipeline.facts.quality import Measured
from pipeline.facts.training import Point
from pipeline.store.json_files import read_json
from pipeline.tasks.all_tasks import find_task

PARTS: Mapping[Arm, str] = {PLAIN: "head_only", TEACHER: "teacher", STUDENT: "student"}
"""Name of each model in a report."""


class _View(BaseModel):
    """A part of a report: other fields of it are passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)


class LatencyView(_View):
    """One arm in one cell of the benchmark."""

    arm: Arm
    batch: int
    length: int | None
    median_ms: float
    ratio_to_plain: float
    past: int = 0
    """Tokens in the cache of a language model's step; 0 for a whole pass."""


class ReportView(_View):
    """A report, as far as the registry reads it."""

    run_id: str
    name: str
    task: TaskName
    verdict: str
    reasons: tuple[str, ...]
    checks: tuple[Check, ...]
    data_digest: str
    """Digest of the splits that the student was measured on."""
    quality: dict[Arm, Measured]
    """Metrics on the test split, by model."""
    fidelity: dict[str, float]
    """Closeness of the student to its teacher on the test split."""
    curves: dict[Arm, tuple[Point, ...]]
    """Training curves, by model."""
    latency: tuple[LatencyView, ...]

    @property
    def student(self) -> Measured:
        """Return the quality of the student that ships."""
        return self.quality[STUDENT]

    @model_validator(mode="before")
    @classmethod
    def _read_any_version(cls, report: object) -> object:
        if not isinstance(report, dict):
            return report
        try:
            is_old = report.get("schema_version", 3) < 4
            return report | (_of_parts(report) if is_old else _of_stages(report))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"a part of the report is missing or malformed: {error}") from error

    @model_validator(mode="after")
    def _check_fidelity(self) -> Self:
        task = find_task(self.task)
        if missing := {task.agreement, task.distance} - set(self.fidelity):
            raise ValueError(f"expected the fidelity of a {self.task}: no {sorted(missing)}")
        return self


# Any: JSON that is checked by the view itself.
def _of_stages(report: dict[str, Any]) -> dict[str, Any]:
    """Return the view's fields that schema 4 has elsewhere."""
    evaluation = report["evaluation"]
    return {
        "data_digest": report["data"]["digest"],
        "quality": {arm: evaluation[arm] for arm in PARTS},
        "fidelity": evaluation["fidelity"]["values"],
        "curves": {arm: report[part]["outcome"]["curve"] for arm, part in PARTS.items()},
        "latency": report["benchmark"]["latency"],
    }


def _of_parts(report: dict[str, Any]) -> dict[str, Any]:
    """Return the view's fields that schema 3 and earlier ones have elsewhere."""
    parts = {arm: report[part] for arm, part in PARTS.items() if arm == STUDENT or part in report}
    fidelity = report["fidelity"].items()
    return {
        "task": "classification",
        "data_digest": report["data"]["digest"],
        "quality": {
            arm: {"values": part["metrics"], "intervals": part["intervals"]}
            for arm, part in parts.items()
        },
        "fidelity": {name: value for name, value in fidelity if isinstance(value, int | float)},
        "curves": {arm: part.get("curve", ()) for arm, part in parts.items()},
        "latency": report.get("latency", ()),
    }


_REPORT = TypeAdapter(ReportView)


def read_report(path: Path) -> ReportView:
    """Return what the registry needs of a report.

    Raises:
        InputError: when the file is missing or is no report.
    """
    return read_json(
        path,
        _REPORT,
        expected="a report of a run by this version",
        advice="Give the folder of a finished run, such as runs/latest, or run it again; finished "
        "stages are reused.",
    )
