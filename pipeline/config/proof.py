"""Measurements of quality and latency, and the limits that a student must reach."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.config.provider import Provider
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

    past_lengths: tuple[Annotated[int, Field(ge=1)], ...] = (16, 64)
    """Tokens before a single one that a language model generates. Each number makes cells of one
    token, with the keys and values of those before it. Other tasks ignore it."""

    own_lengths: int = Field(default=8, ge=0)
    """Test texts for a cell with the data's own lengths, one text per call; 0 leaves it out."""

    provider: Provider = "cpu"
    """Execution provider of onnxruntime. Any but ``cpu`` needs a build of onnxruntime with it. Its
    verdict is of wall times with the device waited for, as a GPU's work takes no CPU time."""

    target_half_width: float = Field(default=0.005, gt=0)
    """Noise to reach, as a fraction: blocks are added until two measurements of one file agree."""

    min_blocks: int = Field(default=8, ge=3)
    """Fewest blocks per cell; each has a fresh session per arm, and is one sample."""

    max_blocks: int = Field(default=60, ge=3)
    """Most blocks per cell."""

    seconds_per_cell: float = Field(default=60.0, gt=0)
    """Time per cell, in seconds. No new block starts later, once three blocks are done."""

    rounds: int = Field(default=8, ge=2)
    """Interleaved timed calls per arm and block; a quarter of them where a call has many texts."""

    warmup_runs: int = Field(default=3, ge=1)
    """Calls of a fresh session before the first timed one."""

    ladder_blocks: int = Field(default=8, ge=0)
    """Blocks of the ladder, which times all models from the teacher in PyTorch to the student.
    Fewer than three leave it out."""

    seconds_per_file: float = Field(default=2.0, gt=0)
    """Seconds per file with all cores: once for latency, and once for throughput."""

    throughput_batch: int = Field(default=32, ge=1)
    """Texts per call when throughput is measured."""

    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """Confidence level of the intervals."""

    max_half_width: float = Field(default=0.01, gt=0)
    """Most noise, as a fraction: the verdict is inconclusive if one file, timed twice, differs
    more."""

    min_margin: float = Field(default=0.01, gt=0)
    """Lower bound of the equivalence margin, which is a quarter of the adapters' cost."""

    max_margin: float = Field(default=0.02, gt=0)
    """Upper bound of the equivalence margin, which is a quarter of the adapters' cost."""

    min_removed: float = Field(default=0.75, gt=0, le=1)
    """Smallest fraction of the adapters' cost that must be significantly gone."""

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
    """Limits that a student must reach to ship."""

    max_metric_drop: float = Field(default=0.01, ge=0, le=1)
    """Largest accepted loss of the task's main metric against the teacher (0.01 is one point).
    Its old name, max_accuracy_drop, is still read."""

    min_agreement: float = Field(default=0.95, ge=0, le=1)
    """Least accepted agreement with the teacher: the share of the test texts with the same label.
    Multi-label tasks count labels, token classification counts words, and language models count
    tokens. Question answering counts questions with the same answer. For a regression it is the
    correlation of both models' numbers."""

    min_gain: float = Field(default=0.01, ge=-1, le=1)
    """Least gain of the main metric (0.01 is one point) against the better of two baselines. One is
    the head alone, which costs as much as the student; the other is one answer for every text. The
    value -1 accepts any gain. A gain that may be luck is always a warning."""

    max_rmse_growth: float = Field(default=0.05, ge=0)
    """Largest accepted growth of a regression's root mean squared error, relative to the teacher's
    (0.05 is 5 %). Other tasks ignore it."""

    max_perplexity_growth: float = Field(default=0.01, ge=0)
    """Largest accepted growth of a language model's perplexity per token, relative to the teacher's
    (0.01 is 1 %). Other tasks ignore it."""

    max_class_drop: float = Field(default=0.1, ge=0, le=1)
    """Largest accepted loss of recall of any class against the teacher (0.1 is ten points). A
    student is refused if the whole interval of a class is beyond it. All classes share one level. A
    class with few texts has a wide interval, and gives a warning instead."""

    max_calibration_growth: float = Field(default=0.02, ge=0, le=1)
    """Largest accepted growth of the expected calibration error (0 to 1) against the teacher. A
    student is refused if the error is significantly higher."""

    max_size_ratio: float = Field(default=1.05, gt=0)
    """Largest accepted size of the file that ships, as a multiple of the teacher's file."""

    max_size_mb: float | None = Field(default=None, gt=0)
    """Largest accepted size of the file that ships, in MB of a million bytes; any by default."""

    max_latency_ratio: float = Field(default=1.05, gt=0)
    """Largest accepted latency, as a multiple of the plain backbone's; significant excess is
    refused."""

    min_quality: float | None = Field(default=None, ge=0, le=1)
    """Least accepted main metric of the student (0.79 is 79 %). A sweep picks the fastest student
    that reaches it."""

    max_latency_ms: float | None = Field(default=None, gt=0)
    """Largest accepted wall time of a text on one thread, in milliseconds. A student is refused if
    it is significantly slower. A sweep picks the best student that is as fast."""

    overhead: Literal["gone", "not_refuted", "any"] = "not_refuted"
    """Accepted verdict on the adapters' overhead. ``gone``: it must be proven gone.
    ``not_refuted``: the student is refused only if the overhead significantly remains. A noisy
    machine gives a warning, because noise is no evidence against a student. ``any``: the verdict is
    only shown."""

    _old_name = model_validator(mode="before")(
        accept_old_name("max_accuracy_drop", "max_metric_drop")
    )
