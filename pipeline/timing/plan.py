"""The plan of a measurement: which files, in which cells, against which baseline."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.facts.arms import Arm
from pipeline.timing.cells import in_groups
from pipeline.timing.torch_teacher import TorchTeacher
from pipeline.timing.workload import Workload


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasurementPlan:
    """Files and calls to measure."""

    files: Mapping[Arm, Path]
    """ONNX file by arm."""
    candidate: Arm
    baseline: Arm
    teacher: Arm | None
    """The adapter teacher's arm; without it there is no verdict."""
    others: tuple[Arm, ...]
    """Further arms of the cells."""
    workloads: Sequence[Workload]
    """The cells."""
    texts: Workload
    """Single texts, for the ladder and the costs."""
    torch_teacher: TorchTeacher | None

    def groups(self) -> Iterator[tuple[Arm, ...]]:
        """Yield the arms that are measured together, the baseline first."""
        wanted = [self.candidate, *([self.teacher] if self.teacher else []), *self.others]
        rest = [arm for arm in dict.fromkeys(wanted) if arm != self.baseline]
        for group in list(in_groups(rest)) or [()]:
            yield (self.baseline, *(arm for arm in self.files if arm in group))
