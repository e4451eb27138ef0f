"""The facts that stages find and pass on: frozen, and plain enough to be JSON.

Beside its facts a stage has files; `pipeline.artifacts.Stage` holds both.
"""

from dataclasses import dataclass

from pipeline.config import AdapterConfig, AdapterSource
from pipeline.proof.machine import Conditions
from pipeline.proof.records import Estimate, FileCost, Graph, Rung, Verdict, cell_name


@dataclass(frozen=True, kw_only=True, slots=True)
class DataFacts:
    """What the splits hold."""

    digest: str
    """sha256 over texts, labels and label names of all three splits."""
    texts_digest: str
    """The same of what the sources hold, however it is split."""
    labels: tuple[str, ...]
    """Label names in class order."""
    text_columns: tuple[str, ...]
    sizes: dict[str, int]
    """Number of texts by split."""
    label_counts: dict[str, dict[str, int]]
    """Number of texts by split and label name."""
    dropped_duplicates: int
    """Rows left out because their text had been seen before."""
    conflicting_labels: int
    """Those of them whose label differed from the first one's."""
    dropped_empty: int
    """Rows left out because their text or label was empty."""


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
    curve: tuple[Point, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class TeacherFacts:
    """What trained, and how it went."""

    adapter: AdapterConfig | AdapterSource | None
    """What was trained, or where it came from; None for the baseline."""
    total_parameters: int
    trainable_parameters: int
    adapter_parameters: int
    head_parameters: int
    trainable_percent: float
    trainable_names: tuple[str, ...]
    backbone_sha256: str
    """Of the frozen parameters, equal before and after."""
    warnings: tuple[str, ...]
    outcome: TrainingOutcome


@dataclass(frozen=True, kw_only=True, slots=True)
class SoftTargetFacts:
    """How many targets there are, of which width."""

    texts: int
    classes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class SiteFit:
    """How well one dense layer of the student absorbed what its adapter does."""

    layer: int
    site: str
    """``attention`` or ``ffn``."""
    r2: float
    """Part of the difference to the teacher that is gone, on held-out tokens; 0 where the
    backbone's weights were kept."""
    ridge: float
    """Chosen strength, relative to the mean of the Gram matrix's diagonal."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AbsorbFacts:
    """The closed-form start of the student."""

    texts: int
    tokens: int
    method: str
    """``exact``: the adapters were folded, up to rounding; ``ridge``: regressions."""
    extra_units: int
    """Units by which each layer's FFN is wider than the backbone's."""
    why_not_exact: tuple[str, ...]
    """What stands against an exact fold, in sentences."""
    embeddings_r2: float | None = None
    """Part of the invertible adapter's change of the embeddings that the student's own took over,
    1 for all of it; None without one. The sites' regressions correct for the rest."""
    held_out: dict[str, float]
    """Closeness to the teacher on the held-out texts, before any gradient step."""
    sites: tuple[SiteFit, ...]
    """Empty for an exact fold."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StudentFacts:
    """Where the student started, what training made of it, and which of the two was kept."""

    start: str
    """``absorbed``, or ``pretrained``: the checkpoint's own weights (or some of its layers)."""
    kept: str
    """``trained``, or ``start`` where training did not lower the validation KL."""
    total_parameters: int
    start_validation: dict[str, float]
    validation: dict[str, float]
    """Agreement, KL and task metrics of the kept weights on the validation split."""
    outcome: TrainingOutcome


@dataclass(frozen=True, kw_only=True, slots=True)
class Parity:
    """One comparison of an ONNX file with torch."""

    model: str
    """``plain``, ``teacher`` or ``student``."""
    batch: int
    length: int
    """Tokens per text."""
    mask: str
    """``full``, ``right``, ``left`` or ``hole``: where the padding stands."""
    max_abs_difference: float
    """Largest difference of a logit."""
    tolerance: float
    """Accepted difference: the config's, times max(1, largest logit)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportFacts:
    """The ONNX files' operator set, and every comparison with torch."""

    opset: int
    parity: tuple[Parity, ...]


Interval = tuple[float, float]
"""Low and high end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """Named values with their confidence intervals."""

    values: dict[str, float]
    intervals: dict[str, Interval]


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassQuality:
    """What the student lost of one class on the test split."""

    label: str
    texts: int
    teacher_recall: float
    student_recall: float
    teacher_f1: float
    student_f1: float
    recall_lost: float
    """The teacher's minus the student's, as part of 1."""
    interval: Interval
    """Of ``recall_lost``, such that all classes' intervals hold together."""


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
    """Student against teacher: agreement, mean KL in nats, largest logit difference."""
    change: Measured
    """Student minus teacher, metric by metric, on the same resamples."""
    classes: tuple[ClassQuality, ...]
    """Every class that has texts."""
    student_fp32: Measured | None = None
    """The student before quantisation; None where that stage did not run."""
    fidelity_fp32: Measured | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Latency:
    """One arm in one cell of the benchmark."""

    arm: str
    """``plain``, ``plain again`` (the same file, to show the noise), ``teacher``, ``student``."""
    batch: int
    length: int | None
    """Tokens per text; None: the test texts' own lengths."""
    median_ms: float
    """Median wall time of a call, in milliseconds."""
    p95_ms: float
    p99_ms: float
    """95th and 99th percentile of the same."""
    ratio_to_plain: float
    """Thread CPU time as a multiple of the plain backbone's: geometric mean over blocks."""
    ci_low: float
    ci_high: float
    """Confidence interval of the ratio over blocks."""

    @property
    def cell(self) -> str:
        """Return the name of its cell, for people."""
        return cell_name(self.batch, self.length)


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchmarkFacts:
    """What the ONNX files cost on this machine, and whether the adapters' overhead is gone."""

    blocks: int
    """Blocks of the cell that had fewest."""
    confidence: float
    verdict: Verdict | None
    """None without an adapter teacher to hold the student against."""
    graphs: dict[str, Graph]
    """By arm: ``plain``, ``teacher``, ``student``, and other files of the student's bundle."""
    latency: tuple[Latency, ...]
    """One thread, thread CPU time, cell by cell."""
    ladder: tuple[Rung, ...]
    """Wall time, slowest first; empty where it was left out."""
    costs: dict[str, FileCost]
    """All cores, by arm."""
    machine: dict[str, str]
    """Processor, cores, kernel and versions."""
    conditions: Conditions
    """How busy the machine was."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BaselineFacts:
    """A classifier that was trained without adapters."""

    method: str
    """``full`` or ``lora``."""
    total_parameters: int
    """Of the stock model, LoRA merged."""
    trainable_parameters: int
    outcome: TrainingOutcome


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparedModel:
    """One way to adapt a backbone, or a student of one, on the test split."""

    name: str
    teacher: str | None
    """What it stands for, where it is a student or a merged model."""
    trainable_parameters: int
    """0 where nothing was trained by gradients but what it stands for."""
    total_parameters: int
    quality: Measured
    fidelity: Measured | None
    """Closeness to what it stands for."""
    is_plain_graph: bool
    """Whether its ONNX graph is the plain backbone's, weights aside."""
    latency: Estimate | None
    """CPU time of a call, as a multiple of the plain backbone's; None where nothing was timed,
    because the graph is the plain one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparisonFacts:
    """All of them; the first is the plain backbone with its head."""

    models: tuple[ComparedModel, ...]
    confidence: float
    machine: dict[str, str]
