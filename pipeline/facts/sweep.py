"""Facts of a sweep, as plain as those of the chain's stages."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.config.sweep import Varied
from pipeline.config.task import TaskName
from pipeline.facts.arms import Arm
from pipeline.facts.latency import Conditions, Rung
from pipeline.facts.quality import Measured
from pipeline.facts.variants import Precision, Runtime

TrialEnd = Literal["finished", "pruned", "failed"]


@dataclass(frozen=True, kw_only=True, slots=True)
class StudentFile:
    """A student in one precision: what a sweep chooses among."""

    name: Arm
    student: str
    layers: tuple[int, ...]
    precision: Precision
    settings: Mapping[str, Varied]
    """Settings that the sweep varied, with this student's values; empty where none was."""
    way: str
    """The fastest of the ways to run it: `pipeline.graphs.variants`."""
    bundle: Path
    runtime: Runtime
    size_bytes: int
    parameters: int
    refused: str | None
    """Why its precision may not ship; None where it may."""

    def key(self) -> list[str]:
        """Return what a stage's key holds of it: the file itself is in the stage that made it."""
        return [self.name, self.way]


@dataclass(frozen=True, kw_only=True, slots=True)
class FileQuality:
    """One file on both splits: chosen by the one, reported on the other."""

    validation: Measured
    """Metrics of the task, and closeness to the teacher."""
    test: Measured
    """Metrics of the task, and closeness to the teacher."""
    change: Measured
    """On the test split: each metric minus the teacher's, on the same resamples."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepQuality:
    """Every file's quality, by name; ``teacher`` and ``plain`` among them."""

    texts: dict[str, int]
    """By split."""
    confidence: float
    files: dict[Arm, FileQuality]


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepTimes:
    """Wall time of a text in every file and in the teacher in PyTorch, in one measurement."""

    rungs: tuple[Rung, ...]
    """Slowest first."""
    blocks: int
    texts: int
    """Texts of a round."""
    confidence: float
    machine: dict[str, str]
    conditions: Conditions


@dataclass(frozen=True, kw_only=True, slots=True)
class Pick:
    """The student of a sweep that becomes a run, or why there is none."""

    name: Arm | None
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepTrial:
    """One combination of settings that a study tried, with students at every number of layers."""

    settings: Mapping[str, Varied]
    distance: float | None
    """Distance to the teacher after absorption, on held-out texts: the mean over its students. None
    where nothing was absorbed."""
    start_value: float | None
    """Main metric after absorption, on the same texts: the mean over its students. None where
    nothing was absorbed."""
    value: float | None
    """Main metric after distillation, on the validation split: the mean over its students. None
    where the trial ended before."""
    ended: TrialEnd
    reason: str = ""
    """Why it ended early; empty where it finished."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepStudy:
    """The trials of a sweep, in the order in which they were made."""

    wanted: int
    """Trials that `sweep.trials` asks for, beside the config's own combination."""
    own: SweepTrial
    """The config's own combination, which is always finished."""
    trials: tuple[SweepTrial, ...]
    """Fewer than were wanted where no new combination was proposed."""

    @property
    def summary(self) -> str:
        """Return a sentence with the number of trials, and how they ended."""
        ends = Counter(trial.ended for trial in self.trials)
        parts = [f"{ends['finished']} finished", f"{ends['pruned']} pruned after absorption"]
        parts += [f"{ends['failed']} failed"] * bool(ends["failed"])
        made = f"{len(self.trials)} trial{'s' * (len(self.trials) != 1)}"
        if len(self.trials) < self.wanted:
            made += f" of {self.wanted}, because no other combination was proposed"
        return f"{made}: {', '.join(parts)}."


@dataclass(frozen=True, kw_only=True, slots=True)
class Sweep:
    """All that a sweep found."""

    name: str
    model: str
    """The backbone."""
    task: TaskName
    metric: str
    """The task's main metric."""
    files: tuple[StudentFile, ...]
    """All files, refused ones included."""
    quality: SweepQuality
    times: SweepTimes
    front: tuple[Arm, ...]
    """Files that no other one beats on the validation split, fastest first."""
    pick: Pick
    min_quality: float | None
    max_latency_ms: float | None
    """Limits of the gate that picked the student."""
    study: SweepStudy | None = None
    """Trials that chose the combinations; None where every combination was made."""
