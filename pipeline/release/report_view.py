"""What the registry reads of a run's report, whichever version of the software wrote it."""

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, TypeAdapter, model_validator

from pipeline.decisions.check import Check
from pipeline.store.reading import read_json


class _View(BaseModel):
    """A part of a report of any schema version: what is not asked for here is passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class StudentView(_View):
    """The student's quality on the test split."""

    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if missing := self.metrics.keys() - self.intervals.keys():
            raise ValueError(f"{', '.join(sorted(missing))} without an interval")
        return self


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
    verdict: str
    reasons: tuple[str, ...]
    checks: tuple[Check, ...]
    data: DataView
    student: StudentView
    fidelity: FidelityView


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
