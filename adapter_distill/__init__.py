"""The Python API: a teacher with adapters becomes a student without, in a notebook or a script.

>>> from pathlib import Path
>>> from adapter_distill import absorb, load, load_teacher
>>> teacher = load_teacher("runs/latest/finetune")
>>> texts = Path("texts.txt").read_text(encoding="utf-8").splitlines()
>>> student = absorb(teacher, texts, out="student")
>>> round(student.fidelity["agreement"]) in (0, 1)
True

`export` makes an ONNX bundle of the student, and `load` reads it:

>>> model = load("runs/latest/student")
>>> model.predict(["a moving film"])[0]["label"] in teacher.labels
True

Models are folders. A function and the command of its name write the same folders, and read each
other's. A function raises `InputError` where its command ends with exit code 2. The first call that
needs torch imports it; `import adapter_distill` and `load` never do.
"""

from adapter_distill.rooms import check_rooms

check_rooms()  # before any import from them

from adapter_distill.bundles import Model, benchmark, load  # noqa: E402 - after the check
from adapter_distill.runs import Run, run  # noqa: E402 - after the check
from adapter_distill.students import (  # noqa: E402 - after the check
    Student,
    Teacher,
    absorb,
    distill,
    export,
    load_teacher,
)
from pipeline.errors import InputError  # noqa: E402 - after the check

__all__ = [
    "InputError",
    "Model",
    "Run",
    "Student",
    "Teacher",
    "absorb",
    "benchmark",
    "distill",
    "export",
    "load",
    "load_teacher",
    "run",
]
