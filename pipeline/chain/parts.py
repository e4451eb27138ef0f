"""The finished stages of two parts of the chain: up to the teacher, and of one student."""

from dataclasses import dataclass

from pipeline.checkpoints.context import ModelContext
from pipeline.facts.absorption import AbsorbFacts
from pipeline.facts.data import DataFacts, UnlabelledFacts
from pipeline.facts.export import ExportFacts
from pipeline.facts.training import SoftTargetFacts, StudentFacts, TeacherFacts
from pipeline.facts.variants import QuantizeFacts
from pipeline.store.stage import Stage


@dataclass(frozen=True, kw_only=True, slots=True)
class TeacherStages:
    """The stages that all students of one teacher share."""

    context: ModelContext
    data: Stage[DataFacts]
    head_only: Stage[TeacherFacts]
    teacher: Stage[TeacherFacts]


@dataclass(frozen=True, kw_only=True, slots=True)
class StudentStages:
    """The stages of a student, and the files that may ship."""

    unlabelled: Stage[UnlabelledFacts] | None
    absorbed: Stage[AbsorbFacts] | None
    targets: Stage[SoftTargetFacts]
    student: Stage[StudentFacts]
    exported: Stage[ExportFacts]
    quantized: Stage[QuantizeFacts] | None
