"""How quality and latency are measured, and what a student must reach."""

from typing import Literal, Self

from pydantic import Field, model_validator

from pipeline.config.section import Section, accept_old_name


class EvaluateConfig(Section):
    """Quality and fidelity of the ONNX files on the test split."""

    batch_size: int = Field(default=32, ge=1)
    """Texts per onnxruntime call."""

    bootstrap_samples: int = Field(default=1000, ge=100)
    """Resamples of the test split behind each interval."""

    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """Confidence level of the intervals."""


class BenchmarkConfig(Section):
    """Paired latency of backbone, teacher and student in onnxruntime, and a verdict on it."""

    batch_sizes: tuple[int, ...] = Field(default=(1, 8), min_length=1)
    """Texts per call."""

    lengths: tuple[int, ...] = Field(default=(16, 64), min_length=1)
    """Tokens per text."""

    own_lengths: int = Field(default=8, ge=0)
    """Test texts that make one more cell, one a call, of the data's own lengths; 0: no such
    cell."""

    target_half_width: float = Field(default=0.005, gt=0)
    """Blocks are added until the plain file, measured twice, is equal to within this part of 1."""

    min_blocks: int = Field(default=8, ge=3)
    """Blocks per cell at least; each has a fresh session per arm, and is one sample."""

    max_blocks: int = Field(default=60, ge=3)
    """Blocks per cell at most."""

    seconds_per_cell: float = Field(default=60.0, gt=0)
    """No new block is begun after this many seconds, once three are done."""

    rounds: int = Field(default=8, ge=2)
    """Interleaved timed calls per arm and block; a quarter of it where a round has
    many texts."""

    warmup_runs: int = Field(default=3, ge=1)
    """Calls of a fresh session before the first timed one."""

    ladder_blocks: int = Field(default=8, ge=0)
    """Blocks of the ladder from the teacher in PyTorch to the student, in wall time; 0 leaves it
    out, as do fewer than three."""

    seconds_per_file: float = Field(default=2.0, gt=0)
    """Time for latency, and again for throughput, of each file with all cores."""

    throughput_batch: int = Field(default=32, ge=1)
    """Texts per call of the throughput."""

    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """Confidence level of the intervals."""

    max_half_width: float = Field(default=0.01, gt=0)
    """The verdict is inconclusive where the plain file, measured twice, differs by more."""

    min_margin: float = Field(default=0.01, gt=0)
    """The student is equal to plain within a quarter of the adapters' cost, at least this."""

    max_margin: float = Field(default=0.02, gt=0)
    """The same, at most this."""

    min_removed: float = Field(default=0.75, gt=0, le=1)
    """Least part of the adapters' cost that must surely be gone."""

    @property
    def has_ladder(self) -> bool:
        """Whether the ladder is measured: an interval over blocks needs three of them."""
        return self.ladder_blocks >= 3

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.max_blocks < self.min_blocks:
            raise ValueError("expected max_blocks to be at least min_blocks")
        if self.max_margin < self.min_margin:
            raise ValueError("expected max_margin to be at least min_margin")
        return self


class GateConfig(Section):
    """What a student must reach."""

    max_metric_drop: float = Field(default=0.01, ge=0, le=1)
    """Largest accepted loss of the task's main metric against the teacher (0.01 is one point).
    It was called max_accuracy_drop, and is still read under that name."""

    min_agreement: float = Field(default=0.95, ge=0, le=1)
    """Least accepted agreement with the teacher: the part of the test texts with the same label
    (multi-label: of all labels; token classification: of the words); for a regression, the
    correlation of both models' numbers."""

    min_gain: float = Field(default=0.01, ge=-1, le=1)
    """Least gain of the main metric (0.01 is one point) against the better of two baselines: the
    head alone, which costs as much as the student, and one answer for every text. -1 accepts any;
    a gain that may be luck is a warning all the same."""

    max_rmse_growth: float = Field(default=0.05, ge=0)
    """Regression alone: largest accepted growth of the root mean squared error against the
    teacher, as part of the teacher's (0.05 is 5 %)."""

    max_class_drop: float = Field(default=0.1, ge=0, le=1)
    """Classes and labels: refused when one has surely lost more of its recall than this
    against the teacher (0.1 is ten points): when its whole interval is beyond, at a level that all
    classes share. A class with few texts has a wide interval, and gives a warning instead."""

    max_calibration_growth: float = Field(default=0.02, ge=0, le=1)
    """Classes and labels: refused when the expected calibration error (0 to 1) is surely higher
    than the teacher's by more than this."""

    max_size_ratio: float = Field(default=1.05, gt=0)
    """Largest accepted size of the file that ships, as a multiple of the teacher's file."""

    max_size_mb: float | None = Field(default=None, gt=0)
    """Largest accepted size of that file, in MB of a million bytes; any by default."""

    max_latency_ratio: float = Field(default=1.05, gt=0)
    """Refused when the student is surely slower than this many times the plain backbone."""

    min_quality: float | None = Field(default=None, ge=0, le=1)
    """Least accepted main metric of the student (0.79 is 79 %). A sweep picks the fastest student
    that reaches it."""

    max_latency_ms: float | None = Field(default=None, gt=0)
    """Refused when a text of the data's own lengths surely takes longer than this on one thread,
    in ms of wall time. A sweep picks the best student that is as fast."""

    overhead: Literal["gone", "not_refuted", "any"] = "not_refuted"
    """What the benchmark's verdict must say of the adapters' overhead. ``gone``: it must be proven
    gone. ``not_refuted``: refused only where it surely remains; a machine too noisy to tell gives
    a warning, since noise is no evidence against a student. ``any``: the verdict is only shown."""

    _old_name = model_validator(mode="before")(
        accept_old_name("max_accuracy_drop", "max_metric_drop")
    )
