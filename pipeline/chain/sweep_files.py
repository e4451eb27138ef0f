"""The files of a sweep's student: each precision in the fastest way to run it."""

from collections.abc import Sequence

from pipeline.chain.sweep_plan import PlannedStudent
from pipeline.facts.arms import STUDENT, Arm
from pipeline.facts.sweep import StudentFile
from pipeline.facts.variants import Precision, QuantizeFacts
from pipeline.graphs.variants import VARIANTS, fastest
from pipeline.store.stage import Stage


def list_files(
    student: PlannedStudent,
    quantized: Stage[QuantizeFacts],
    precisions: Sequence[Precision],
    *,
    parameters: int,
) -> tuple[StudentFile, ...]:
    """Return the student's file in each precision, refused ones too."""
    files = []
    for precision in precisions:
        variant = fastest(quantized.facts, precision)
        files.append(
            StudentFile(
                name=Arm(f"{student.name}, {precision}"),
                student=student.name,
                layers=student.layers,
                settings=student.settings,
                precision=precision,
                way=variant.name,
                bundle=quantized.folder / STUDENT,
                runtime=VARIANTS[variant.name].runtime,
                size_bytes=variant.size_bytes,
                parameters=parameters,
                refused=variant.refused,
            )
        )
    return tuple(files)
