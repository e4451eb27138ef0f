"""The finished stages of the chain's parts: up to the teacher, a student's start, and all of it."""

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
class StudentStart:
    """The stages of a student before any gradient step."""

    context: ModelContext
    """Context of the student, with its own pretrained model as backbone."""
    unlabelled: Stage[UnlabelledFacts] | None
    absorbed: Stage[AbsorbFacts] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class StudentStages:
    """The stages of a student, and the files that may ship."""

    unlabelled: Stage[UnlabelledFacts] | None
    absorbed: Stage[AbsorbFacts] | None
    targets: Stage[SoftTargetFacts]
    student: Stage[StudentFacts]
    exported: Stage[ExportFacts]
    quantized: Stage[QuantizeFacts] | None
