"""What the registry reads of a run's report, whichever version of the software wrote it."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.config.task import TaskName
from pipeline.decisions.check import Check
from pipeline.errors import InputError


class _View(BaseModel):
    """A part of a report of any schema version: what is not asked for here is passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class StudentView(_View):
    """The student's quality on the test split."""

    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]


class DataView(_View):
    """What the student was measured on."""

    digest: str


class FidelityView(_View):
    """How close the student is to its teacher."""

    agreement: float
    mean_kl: float


class ReportView(_View):
    """What the registry reads of a report."""

    run_id: str
    name: str
    task: TaskName = "classification"
    verdict: str
    reasons: tuple[str, ...]
    checks: tuple[Check, ...]
    data: DataView
    student: StudentView
    fidelity: FidelityView


def read_report(path: Path) -> ReportView:
    """Return what the registry needs of a report.

    Raises:
        InputError: when the file is missing or is no report.
    """
    try:
        return ReportView.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(
            f"Cannot read {path}: {error.strerror}. Give the folder of a finished run, such as "
            "runs/latest."
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(
            f"{path} is no report of a run by this version: {'.'.join(map(str, first['loc']))}: "
            f"{first['msg']}. Give another run, or run this one again; finished stages are reused."
        ) from error
