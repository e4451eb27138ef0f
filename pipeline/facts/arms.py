"""Arms: the names of the files that are measured side by side."""

from typing import NewType

Arm = NewType("Arm", str)
"""Name of a file or a model that is measured beside others."""

PLAIN = Arm("plain")
"""The backbone with a head, without adapters."""
TEACHER = Arm("teacher")
"""The adapter teacher's ONNX file."""
STUDENT = Arm("student")
"""The student's ONNX file: as it was exported, or in an evaluation the one that ships."""
STUDENT_FP32 = Arm("student_fp32")
"""The student before quantisation, in an evaluation of another file that ships."""
CONSTANT = Arm("constant")
"""The best answer that is the same for every text."""
TORCH_TEACHER = Arm("teacher in PyTorch")
"""The adapter teacher as its users run it without ONNX."""

EXPORTED = (PLAIN, TEACHER, STUDENT)
"""Arms that the stage export writes a bundle for."""


def a_a_arm(arm: Arm) -> Arm:
    """Return the A/A arm: the same file measured once more, which differs by noise alone."""
    return Arm(f"{arm} again")


def variant_arm(variant: str) -> Arm:
    """Return the arm of one of the student's variants, of which ``fp32`` is the exported file."""
    return STUDENT if variant == "fp32" else Arm(f"{STUDENT} {variant}")


def model_of(arm: Arm) -> Arm:
    """Return the arm of the same model's exported file: ``student`` for ``student int8``."""
    return Arm(arm.partition(" ")[0])
