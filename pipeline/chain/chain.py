"""The chain, from texts to a measured student, as one program."""

from typing import Literal

from pipeline.chain.finished import FinishedStages
from pipeline.chain.parts import StudentStages, StudentStart, TeacherStages
from pipeline.chain.program import Program, built, found
from pipeline.chain.proof_steps import benchmark_step, evaluate_step, export_step, quantize_step
from pipeline.chain.stage_names import StageName
from pipeline.chain.student_steps import absorb_step, distill_step, soft_targets
from pipeline.chain.teacher_steps import (
    data_step,
    find_adapters,
    find_model,
    head_only_step,
    make_context,
    teacher_step,
    unlabelled_step,
)
from pipeline.config import AdapterSource, RunConfig
from pipeline.facts.training import SoftTargetFacts, StudentFacts
from pipeline.store.stage import Stage


def chain(config: RunConfig) -> Program[FinishedStages]:
    """Yield every step in the order of the chain; return the finished stages."""
    teacher = yield from teacher_stages(config)
    student = yield from student_stages(config, teacher)
    evaluation = yield from built(evaluate_step(config, teacher, student))
    latency = yield from built(benchmark_step(config, teacher, student))
    return FinishedStages(
        task=teacher.context.task,
        compute=teacher.context.compute,
        data=teacher.data,
        head_only=teacher.head_only,
        teacher=teacher.teacher,
        absorbed=student.absorbed,
        student=student.student,
        exported=student.exported,
        quantized=student.quantized,
        evaluation=evaluation,
        benchmark=latency,
        others=tuple(stage for stage in (student.unlabelled, student.targets) if stage),
    )


def teacher_stages(config: RunConfig) -> Program[TeacherStages]:
    """Yield the steps up to the teacher."""
    context = make_context(config, (yield from found(find_model(config.teacher))))
    if isinstance(config.teacher.adapter, AdapterSource):
        yield from found(find_adapters(config.teacher.adapter))
    data = yield from built(data_step(config))
    baseline = yield from built(head_only_step(config, context, data))
    teacher = yield from built(teacher_step(config, context, data, baseline))
    return TeacherStages(context=context, data=data, head_only=baseline, teacher=teacher)


def student_stages(config: RunConfig, teacher: TeacherStages) -> Program[StudentStages]:
    """Yield the steps from the teacher to the student's files."""
    start = yield from student_start(config, teacher)
    targets, student = yield from distilled(config, teacher, start)
    exported = yield from built(export_step(config, teacher, student))
    quantized = None
    if config.quantize.enabled:
        quantized = yield from built(quantize_step(config, teacher.context, teacher.data, exported))
    return StudentStages(
        unlabelled=start.unlabelled,
        absorbed=start.absorbed,
        targets=targets,
        student=student,
        exported=exported,
        quantized=quantized,
    )


def student_start(config: RunConfig, teacher: TeacherStages) -> Program[StudentStart]:
    """Yield the steps from the teacher to the student before any gradient step."""
    context, data = teacher.context, teacher.data
    own = context
    if config.student.model is not None:
        own = make_context(config, (yield from found(find_model(config.student.model))))
    unlabelled = None
    if config.data.unlabelled:
        unlabelled = yield from built(unlabelled_step(config, data))
    absorbed = None
    if absorbs(config):
        absorbed = yield from built(absorb_step(config, context, data, teacher.teacher, unlabelled))
    return StudentStart(context=own, unlabelled=unlabelled, absorbed=absorbed)


def distilled(
    config: RunConfig, teacher: TeacherStages, start: StudentStart
) -> Program[tuple[Stage[SoftTargetFacts], Stage[StudentFacts]]]:
    """Yield the steps from a student's start to the distilled student."""
    data, adapted, more = teacher.data, teacher.teacher, start.unlabelled
    targets = yield from soft_targets(config, teacher.context, data, adapted, more)
    student = yield from built(
        distill_step(config, start.context, data, adapted, targets, start.absorbed, more)
    )
    return targets, student


def absorbs(config: RunConfig) -> bool:
    """Return whether a run absorbs: only a student of the backbone's own layers has the sites."""
    return config.absorb.enabled and config.student.model is None


def why_no_stage(config: RunConfig, stage: StageName) -> str | None:
    """Return why a config's chain has no such stage; None if it has."""
    way = _way_to_teacher(config)
    if stage in ("finetune", "import", "fuse") and stage != way:
        return f"the stage {way} makes its teacher (see teacher.adapter)"
    if stage == "unlabelled" and not config.data.unlabelled:
        return "data.unlabelled names no texts"
    if stage == "absorb" and not absorbs(config):
        return "absorb.enabled is off, or student.model differs from the teacher's"
    if stage == "quantize" and not config.quantize.enabled:
        return "quantize.enabled is off"
    return None


def _way_to_teacher(config: RunConfig) -> Literal["finetune", "import", "fuse"]:
    """Return the stage that makes the teacher."""
    adapter = config.teacher.adapter
    if not isinstance(adapter, AdapterSource):
        return "finetune"
    return "import" if adapter.trained_as is None else "fuse"
