"""The steps from the teacher to the student: absorbed, then distilled."""

from pipeline.chain.program import Program, built, built_together
from pipeline.checkpoints.context import ModelContext
from pipeline.config import RunConfig
from pipeline.facts.absorption import AbsorbFacts
from pipeline.facts.data import DataFacts, UnlabelledFacts
from pipeline.facts.training import SoftTargetFacts, StudentFacts, TeacherFacts
from pipeline.stages.absorb import AbsorbSettings, absorb
from pipeline.stages.distill import DistillSettings, distill
from pipeline.stages.soft_target_shards import join_soft_targets
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


def soft_target_shards(
    config: RunConfig,
    context: ModelContext,
    data: Stage[DataFacts],
    teacher: Stage[TeacherFacts],
    unlabelled: Stage[UnlabelledFacts] | None = None,
) -> tuple[Step[SoftTargetFacts], ...]:
    """A step for each shard of the texts, with the teacher's outputs on it."""
    parts = config.cluster.shards
    return tuple(
        step(
            "soft-target-shard",
            compute_soft_targets,
            data,
            unlabelled,
            teacher,
            settings=SoftTargetSettings(
                context=context, texts=config.distill.texts, part=part, parts=parts
            ),
            facts=SoftTargetFacts,
        )
        for part in range(parts)
    )


def soft_targets(
    config: RunConfig,
    context: ModelContext,
    data: Stage[DataFacts],
    teacher: Stage[TeacherFacts],
    unlabelled: Stage[UnlabelledFacts] | None = None,
) -> Program[Stage[SoftTargetFacts]]:
    """Yield the steps of the teacher's outputs, which are joined where there are several shards."""
    inputs = config, context, data, teacher, unlabelled
    if config.cluster.shards == 1:
        return (yield from built(soft_targets_step(*inputs)))
    shards = yield from built_together(soft_target_shards(*inputs))
    joined = step("soft-targets", join_soft_targets, shards, settings=None, facts=SoftTargetFacts)
    return (yield from built(joined))


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
