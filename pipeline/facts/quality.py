"""Facts of the stage evaluate: quality and fidelity with intervals."""

from dataclasses import dataclass, field

from pipeline.facts.arms import Arm

Interval = tuple[float, float]
"""Low and high end."""
Metrics = dict[str, float]
"""Named values."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """Named values with their confidence intervals."""

    values: dict[str, float]
    intervals: dict[str, Interval]


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassQuality:
    """Loss of the student in one class on the test split."""

    label: str
    texts: int
    teacher_recall: float
    student_recall: float
    teacher_f1: float
    student_f1: float
    recall_lost: float
    """The teacher's minus the student's, as part of 1."""
    interval: Interval
    """Interval of ``recall_lost``, at a level that all classes share."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateFacts:
    """Quality of the ONNX files on the test split, and closeness of two of them."""

    texts: int
    confidence: float
    plain: Measured
    teacher: Measured
    student: Measured
    """The file that ships."""
    fidelity: Measured
    """Closeness of the student to its teacher, in the task's own values."""
    change: Measured
    """Student minus teacher, metric by metric, on the same resamples."""
    classes: tuple[ClassQuality, ...]
    """Every class that has texts."""
    student_fp32: Measured | None = None
    """The student before quantisation; None where that stage did not run."""
    fidelity_fp32: Measured | None = None
    gains: dict[Arm, Measured] = field(default_factory=dict)
    """Student minus each baseline that knows little, metric by metric, on the same resamples."""
