"""The steps from the teacher to the student: absorbed, then distilled."""

from pipeline.checkpoints.context import ModelContext
from pipeline.config import RunConfig
from pipeline.facts.absorption import AbsorbFacts
from pipeline.facts.data import DataFacts, UnlabelledFacts
from pipeline.facts.training import SoftTargetFacts, StudentFacts, TeacherFacts
from pipeline.stages.absorb import AbsorbSettings, absorb
from pipeline.stages.distill import DistillSettings, distill
from pipeline.stages.soft_targets import SoftTargetSettings, compute_soft_targets
from pipeline.store.stage import Stage
from pipeline.store.step import Step, step


def absorb_step(
    config: RunConfig,
    context: ModelContext,
    data: Stage[DataFacts],
    teacher: Stage[TeacherFacts],
    unlabelled: Stage[UnlabelledFacts] | None = None,
) -> Step[AbsorbFacts]:
    """The student's closed-form start."""
    settings = AbsorbSettings(context=context, absorb=config.absorb, layers=config.student.layers)
    return step("absorb", absorb, data, unlabelled, teacher, settings=settings, facts=AbsorbFacts)


def soft_targets_step(
    config: RunConfig,
    context: ModelContext,
    data: Stage[DataFacts],
    teacher: Stage[TeacherFacts],
    unlabelled: Stage[UnlabelledFacts] | None = None,
) -> Step[SoftTargetFacts]:
    """The teacher's outputs on the training and validation texts."""
    return step(
        "soft-targets",
        compute_soft_targets,
        data,
        unlabelled,
        teacher,
        settings=SoftTargetSettings(context=context, texts=config.distill.texts),
        facts=SoftTargetFacts,
    )


def distill_step(
    config: RunConfig,
    context: ModelContext,
    data: Stage[DataFacts],
    teacher: Stage[TeacherFacts],
    targets: Stage[SoftTargetFacts],
    absorbed: Stage[AbsorbFacts] | None,
    unlabelled: Stage[UnlabelledFacts] | None = None,
) -> Step[StudentFacts]:
    """The student; the context's backbone is its own pretrained model."""
    settings = DistillSettings(
        context=context, distill=config.distill, layers=config.student.layers
    )
    return step(
        "distill",
        distill,
        data,
        unlabelled,
        teacher,
        targets,
        absorbed,
        settings=settings,
        facts=StudentFacts,
    )
