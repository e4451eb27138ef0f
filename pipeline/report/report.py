"""The report of a run: one JSON document with a versioned schema, and a page made of it.

It holds the stages' facts as they are, so a number has one name from its stage to the reader. The
classes below document the schema, which is written to docs/report.schema.json.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from pipeline.config.task import TaskName
from pipeline.decisions.check import Check
from pipeline.facts.absorption import AbsorbFacts
from pipeline.facts.arms import EXPORTED, PLAIN, STUDENT, TEACHER, Arm
from pipeline.facts.benchmark import BenchmarkFacts, Latency
from pipeline.facts.compute import Compute
from pipeline.facts.data import DataFacts
from pipeline.facts.export import ExportFacts
from pipeline.facts.quality import EvaluateFacts, Measured
from pipeline.facts.training import StudentFacts, TeacherFacts
from pipeline.facts.variants import QuantizeFacts
from pipeline.store.stage import Artifact


class Report(BaseModel):
    """One run, from its data to its verdict."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, serialize_by_alias=True
    )

    schema_version: Literal[4] = 4
    run_id: str
    name: str
    created: str
    """UTC, ISO 8601."""
    task: TaskName
    verdict: Literal["passed", "refused"]
    reasons: tuple[str, ...]
    """Why it was refused; empty when it passed."""
    warnings: tuple[str, ...]
    """Findings that refused nothing but should be known, such as a verdict that noise left open."""
    checks: tuple[Check, ...]
    source: str
    """Reference to the training texts."""
    model: str
    """Reference to the teacher's backbone."""
    data: DataFacts
    head_only: TeacherFacts
    """The baseline: the frozen backbone with only its head trained."""
    teacher: TeacherFacts
    student: StudentFacts
    absorbed: AbsorbFacts | None
    """None where the student was not absorbed."""
    exported: ExportFacts
    quantized: QuantizeFacts | None
    """None where the fp32 file ships alone."""
    evaluation: EvaluateFacts
    benchmark: BenchmarkFacts
    versions: dict[str, str]
    artifacts: tuple[Artifact, ...]
    """Every file of the run; paths are relative to its folder."""
    timing_s: dict[str, float]
    """Seconds by stage; a reused stage has the seconds of the run that built it."""
    reused: tuple[str, ...]
    """Stages that were finished before this run."""
    compute: Compute | None = None
    """Device of this run; reused stages name their own. None in reports of earlier versions."""
    next_step: str = ""
    """Advice after this verdict: the command that releases the student, or what to change."""

    def cells(self) -> list[dict[Arm, Latency]]:
        """Return the latency by arm, one entry a cell, in the order of their measurement."""
        cells: dict[str, dict[Arm, Latency]] = {}
        for entry in self.benchmark.latency:
            cells.setdefault(entry.cell, {})[entry.arm] = entry
        return list(cells.values())

    @property
    def shipped_arm(self) -> Arm:
        """Return the benchmark's name of the file that ships."""
        return STUDENT if self.quantized is None else self.quantized.arm

    @property
    def quality(self) -> dict[Arm, Measured]:
        """Return each model's quality on the test split; the student's is of the shipped file."""
        evaluation = self.evaluation
        return {
            PLAIN: evaluation.plain,
            TEACHER: evaluation.teacher,
            STUDENT: evaluation.student,
        }

    @property
    def parameters(self) -> dict[Arm, int]:
        """Return each model's number of parameters."""
        return {
            PLAIN: self.head_only.total_parameters,
            TEACHER: self.teacher.total_parameters,
            STUDENT: self.student.total_parameters,
        }

    @property
    def onnx_bytes(self) -> dict[Arm, int]:
        """Return the size of each model's ONNX file; the student's is of the shipped file."""
        files = {arm: arm for arm in EXPORTED} | {STUDENT: self.shipped_arm}
        return {arm: self.benchmark.graphs[file].size_bytes for arm, file in files.items()}

    @property
    def parity_difference(self) -> float:
        """Return the largest difference of an output between an ONNX file and torch."""
        return max(each.max_abs_difference for each in self.exported.parity)
