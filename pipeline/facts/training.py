"""The facts that stages find and pass on: frozen, and plain enough to be JSON.

Beside its facts a stage has files; `pipeline.store.stage.Stage` holds both.
"""

from dataclasses import dataclass

from pipeline.config import AdapterConfig, AdapterSource


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """One logged step of a training curve; a value that was not measured there is None."""

    step: int
    train_loss: float | None = None
    learning_rate: float | None = None
    validation: dict[str, float] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingOutcome:
    """How a training went. The model itself holds the weights of the best step."""

    steps: int
    best_step: int
    best_metric: float
    precision: str
    """``fp32`` or ``bf16``; adapters and head are kept in fp32 in both."""
    curve: tuple[Point, ...]
    why_precision: str = ""
    """Reason for the precision, in a sentence; empty where nothing was trained in steps."""
    device: str = ""
    """Device that trained, with its name and memory where it is a GPU."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Truncation:
    """Texts that are longer than a model's longest input."""

    max_length: int
    """Longest input, in tokens."""
    texts: dict[str, int]
    """Number of longer texts, by split."""
    reads_windows: bool
    """Whether all of a long text is read, in windows, in training and by the student."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TeacherFacts:
    """Facts of a teacher: its parameters, and the course of its training."""

    adapter: AdapterConfig | AdapterSource | None
    """Adapters that were trained, or their source; None for the baseline."""
    total_parameters: int
    trainable_parameters: int
    adapter_parameters: int
    head_parameters: int
    trainable_percent: float
    trainable_names: tuple[str, ...]
    backbone_sha256: str
    """sha256 of the frozen parameters, equal before and after the training."""
    warnings: tuple[str, ...]
    outcome: TrainingOutcome
    truncation: Truncation | None = None
    """Texts that are truncated, counted by the baseline; None where another stage trained."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SoftTargetFacts:
    """How many targets there are, of which width."""

    texts: int
    outputs: int
    """Numbers per text."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StudentFacts:
    """Where the student started, what training made of it, and which of the two was kept."""

    start: str
    """``absorbed``, or ``pretrained``: the checkpoint's own weights (or some of its layers)."""
    kept: str
    """``trained``, or ``start`` where training brought the student no further (`distill.keep`)."""
    total_parameters: int
    start_validation: dict[str, float]
    validation: dict[str, float]
    """Agreement, KL and task metrics of the kept weights on the validation split."""
    outcome: TrainingOutcome


@dataclass(frozen=True, kw_only=True, slots=True)
class BaselineFacts:
    """A classifier that was trained without adapters."""

    method: str
    """``full`` or ``lora``."""
    total_parameters: int
    """Parameters of the stock model, with LoRA merged."""
    trainable_parameters: int
    outcome: TrainingOutcome
