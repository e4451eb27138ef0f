"""From the teacher to the student: absorbed, then distilled."""

from functools import partial

from flows.stages.declaration import stage_task, with_model
from models.losses import SINGLE_LABEL as OBJECTIVE
from pipeline.checkpoints.pretrained import Checkpoint
from pipeline.config import RunConfig
from pipeline.facts.absorption import AbsorbFacts
from pipeline.facts.data import DataFacts
from pipeline.facts.training import SoftTargetFacts, StudentFacts, TeacherFacts
from pipeline.stages.absorb import absorb
from pipeline.stages.distill import distill
from pipeline.stages.soft_targets import compute_soft_targets
from pipeline.store.stage import Stage
from pipeline.store.store import Store
from pipeline.tasks.classification import SINGLE_LABEL as TASK
from pipeline.texts.tables import read_split


@stage_task("absorb")
def absorb_stage(
    store: Store,
    config: RunConfig,
    data: Stage[DataFacts],
    teacher: Stage[TeacherFacts],
    backbone: Checkpoint,
) -> Stage[AbsorbFacts]:
    """The student's closed-form start."""
    build = partial(
        absorb,
        read_split(data.folder, "train").head(config.absorb.texts).texts,
        teacher.folder,
        backbone,
        config.absorb,
        task=TASK,
        objective=OBJECTIVE,
        layers=config.student.layers,
        max_length=config.data.max_length,
        seed=config.seed,
    )
    settings = with_model(config, backbone, absorb=config.absorb, layers=config.student.layers)
    return store.ensure("absorb", build, AbsorbFacts, settings=settings, inputs=[data, teacher])


@stage_task("soft-targets")
def soft_targets_stage(
    store: Store,
    config: RunConfig,
    data: Stage[DataFacts],
    teacher: Stage[TeacherFacts],
    backbone: Checkpoint,
) -> Stage[SoftTargetFacts]:
    """What the teacher says of the training and validation texts."""
    build = partial(
        compute_soft_targets,
        data,
        teacher,
        backbone,
        objective=OBJECTIVE,
        texts=config.distill.texts,
        max_length=config.data.max_length,
    )
    settings = with_model(config, backbone, texts=config.distill.texts)
    return store.ensure(
        "soft-targets", build, SoftTargetFacts, settings=settings, inputs=[data, teacher]
    )


@stage_task("distill")
def distill_stage(
    store: Store,
    config: RunConfig,
    data: Stage[DataFacts],
    teacher: Stage[TeacherFacts],
    targets: Stage[SoftTargetFacts],
    absorbed: Stage[AbsorbFacts] | None,
    pretrained: Checkpoint,
) -> Stage[StudentFacts]:
    """The student."""
    build = partial(
        distill,
        data,
        teacher,
        targets,
        absorbed,
        pretrained,
        config.distill,
        task=TASK,
        objective=OBJECTIVE,
        layers=config.student.layers,
        max_length=config.data.max_length,
        seed=config.seed,
    )
    settings = with_model(config, pretrained, distill=config.distill, layers=config.student.layers)
    inputs = [data, teacher, targets, *([absorbed] if absorbed else [])]
    return store.ensure("distill", build, StudentFacts, settings=settings, inputs=inputs)
