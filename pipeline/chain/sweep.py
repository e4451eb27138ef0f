"""Students of a sweep: made, and measured side by side, as one program."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.chain.chain import student_stages, teacher_stages
from pipeline.chain.parts import StudentStages, TeacherStages
from pipeline.chain.program import Program, built
from pipeline.chain.sweep_files import list_files
from pipeline.chain.sweep_plan import PlannedStudent, plan_students
from pipeline.chain.sweep_study import study_students
from pipeline.chain.turns import Turns
from pipeline.checkpoints.pretrained import count_layers
from pipeline.config import RunConfig
from pipeline.facts.sweep import StudentFile, SweepQuality, SweepStudy, SweepTimes
from pipeline.facts.variants import QuantizeFacts
from pipeline.stages.sweep_latency import SweepLatencySettings, measure_latency
from pipeline.stages.sweep_quality import SweepQualitySettings, measure_quality
from pipeline.store.stage import Stage
from pipeline.store.step import Step, step
from pipeline.timing.machine import describe_machine


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasuredSweep:
    """All students of a sweep, with what was measured of their files."""

    teacher: TeacherStages
    """Stages of the config's own teacher, against which all students are held."""
    planned: tuple[PlannedStudent, ...]
    students: Mapping[str, StudentStages]
    files: tuple[StudentFile, ...]
    """Refused ones too."""
    quality: Stage[SweepQuality]
    times: Stage[SweepTimes]
    study: SweepStudy | None
    """Trials that chose the combinations; None where every combination is made."""


def sweep(config: RunConfig, *, time_again: bool) -> Program[MeasuredSweep]:
    """Yield the steps of every student, then those that measure all files.

    Args:
        time_again: Measure the latency anew, where it was measured on a busy machine.
    """
    teacher = yield from teacher_stages(config)
    depth, study = count_layers(teacher.context.backbone), None
    if config.sweep.trials is None:
        planned = plan_students(config, depth)
    else:
        study, planned = yield from study_students(config, depth)
    students, own, settings = {}, teacher, planned[0].settings
    turns = Turns("student", len(planned), title="students")
    for student in planned:
        known = own if student.settings == settings else None
        made = yield from turns.take(student.name, _student(student, known))
        (own, students[student.name]), settings = made, student.settings
    turns.end()
    files = _list_files(config, planned, students)
    quality = yield from built(_quality_step(config, teacher, students, files))
    times = yield from built(_latency_step(config, teacher, students, files, again=time_again))
    return MeasuredSweep(
        teacher=teacher,
        planned=planned,
        students=students,
        files=files,
        quality=quality,
        times=times,
        study=study,
    )


def _student(
    student: PlannedStudent, teacher: TeacherStages | None
) -> Program[tuple[TeacherStages, StudentStages]]:
    """Yield the steps of a student, and of its own teacher where none is given; return both."""
    own = (yield from teacher_stages(student.config)) if teacher is None else teacher
    return own, (yield from student_stages(student.config, own))


def quantized_stage(student: StudentStages) -> Stage[QuantizeFacts]:
    """Return the stage with a student's variants, which a sweep's plan asks for."""
    if student.quantized is None:
        raise TypeError("expected a quantized student, as a sweep's plan sets it")
    return student.quantized


def _list_files(
    config: RunConfig,
    planned: Sequence[PlannedStudent],
    students: Mapping[str, StudentStages],
) -> tuple[StudentFile, ...]:
    return tuple(
        file
        for student in planned
        for file in list_files(
            student,
            quantized_stage(students[student.name]),
            config.sweep.precisions,
            parameters=students[student.name].student.facts.total_parameters,
        )
    )


def _quality_step(
    config: RunConfig,
    teacher: TeacherStages,
    students: Mapping[str, StudentStages],
    files: Sequence[StudentFile],
) -> Step[SweepQuality]:
    """Every file on the validation and on the test split."""
    first = next(iter(students.values()))
    return step(
        "sweep-quality",
        measure_quality,
        teacher.data,
        first.exported,
        tuple(map(quantized_stage, students.values())),
        settings=SweepQualitySettings(
            task=teacher.context.task,
            files=_that_may_ship(files),
            evaluate=config.evaluate,
            seed=config.seed,
        ),
        facts=SweepQuality,
    )


def _latency_step(
    config: RunConfig,
    teacher: TeacherStages,
    students: Mapping[str, StudentStages],
    files: Sequence[StudentFile],
    *,
    again: bool,
) -> Step[SweepTimes]:
    """The time of a text in every file, in one measurement."""
    first = next(iter(students.values()))
    ladder = {"ladder_blocks": config.sweep.blocks, "seconds_per_cell": config.sweep.seconds}
    return step(
        "sweep-latency",
        measure_latency,
        teacher.data,
        teacher.teacher,
        first.exported,
        tuple(map(quantized_stage, students.values())),
        settings=SweepLatencySettings(
            context=teacher.context,
            files=_that_may_ship(files),
            benchmark=config.benchmark.model_copy(update=ladder),
            machine=describe_machine(),
        ),
        facts=SweepTimes,
        again=again,
    )


def _that_may_ship(files: Sequence[StudentFile]) -> tuple[StudentFile, ...]:
    return tuple(file for file in files if file.refused is None)
