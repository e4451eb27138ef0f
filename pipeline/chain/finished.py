"""The finished stages of a run, from data to benchmark."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.facts.absorption import AbsorbFacts
from pipeline.facts.arms import STUDENT, Arm
from pipeline.facts.benchmark import BenchmarkFacts
from pipeline.facts.compute import Compute
from pipeline.facts.data import DataFacts
from pipeline.facts.export import ExportFacts
from pipeline.facts.quality import EvaluateFacts
from pipeline.facts.training import StudentFacts, TeacherFacts
from pipeline.facts.variants import QuantizeFacts
from pipeline.store.stage import Stage
from pipeline.tasks.task import Task


@dataclass(frozen=True, kw_only=True, slots=True)
class FinishedStages:
    """Every finished stage of a run."""

    task: Task
    compute: Compute
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
    def shipped_arm(self) -> Arm:
        """The benchmark's name of the file that ships."""
        return self.quantized.facts.arm if self.quantized else STUDENT
