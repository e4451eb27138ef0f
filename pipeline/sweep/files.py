"""The files of a sweep's student: each precision in the fastest way to run it."""

from collections.abc import Sequence

from pipeline.artifacts import Stage
from pipeline.quantisation.records import QuantizeFacts
from pipeline.quantisation.ways import WAYS, Precision, fastest
from pipeline.sweep.plan import PlannedStudent
from pipeline.sweep.records import StudentFile


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
                name=f"{student.name}, {precision}",
                student=student.name,
                layers=student.layers,
                precision=precision,
                way=variant.name,
                bundle=quantized.folder / "student",
                runtime=WAYS[variant.name].runtime,
                size_bytes=variant.size_bytes,
                parameters=parameters,
                refused=variant.refused,
            )
        )
    return tuple(files)
