"""The report of a run: one JSON document with a versioned schema, and a page made of it.

The schema is documented by the classes below and written to docs/report.schema.json.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from pipeline.decisions.check import Check
from pipeline.facts.absorption import AbsorbFacts
from pipeline.facts.benchmark import Latency
from pipeline.facts.export import Parity
from pipeline.facts.latency import Conditions, FileCost, Graph, Rung
from pipeline.facts.overhead import Verdict
from pipeline.facts.quality import ClassQuality, Interval, Measured
from pipeline.facts.training import Point
from pipeline.facts.variants import QuantizeFacts
from pipeline.store.stage import Artifact


class Part(BaseModel):
    """A part of the report: frozen, nothing unknown in it."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class DataPart(Part):
    """What the run was made of."""

    digest: str
    """sha256 over texts, labels and label names of all splits."""
    texts_digest: str
    """The same of what the sources hold, however it is split."""
    source: str
    text_columns: tuple[str, ...]
    """One, or two for sentence pairs."""
    labels: tuple[str, ...]
    sizes: dict[str, int]
    """Texts by split."""
    label_counts: dict[str, dict[str, int]]
    dropped_duplicates: int
    conflicting_labels: int
    dropped_empty: int


class ModelPart(Part):
    """One of the three models, as its ONNX file behaves on the test split."""

    metrics: dict[str, float]
    intervals: dict[str, Interval]
    total_parameters: int
    onnx_bytes: int
    """Size of the ONNX file, in bytes."""
    curve: tuple[Point, ...]
    """Its training: loss and validation metrics by step."""


class TrainedPart(ModelPart):
    """A model whose backbone is frozen."""

    trainable_parameters: int
    trainable_percent: float
    trainable_names: tuple[str, ...]
    backbone_sha256: str
    """Of the frozen parameters: equal before and after training."""


class TeacherPart(TrainedPart):
    """The adapter teacher."""

    model: str
    adapter: dict[str, str | int | float | bool]
    warnings: tuple[str, ...]


class StudentPart(ModelPart):
    """The adapter-free student."""

    start: str
    """``absorbed`` or ``pretrained``."""
    kept: str
    """``trained``, or ``start`` where training did not lower the validation KL."""
    start_validation: dict[str, float]
    validation: dict[str, float]
    absorbed: AbsorbFacts | None


class FidelityPart(Part):
    """How close the student is to its teacher on the test split."""

    agreement: float
    """Part of the texts with the same label."""
    mean_kl: float
    """KL(teacher || student), in nats."""
    max_abs_logit_difference: float
    intervals: dict[str, Interval]
    change: dict[str, float]
    """Student minus teacher, by metric."""
    change_intervals: dict[str, Interval]
    """Of ``change``, paired over the same resamples."""


class QuantizedPart(Part):
    """Variants of the student's file, and the student before them on the test split."""

    facts: QuantizeFacts
    student_fp32: Measured
    fidelity_fp32: Measured


class ParityPart(Part):
    """ONNX against torch."""

    max_abs_difference: float
    checks: tuple[Parity, ...]


class Report(Part):
    """One run, from its data to its verdict."""

    schema_version: Literal[3] = 3
    run_id: str
    name: str
    created: str
    """UTC, ISO 8601."""
    verdict: Literal["passed", "refused"]
    reasons: tuple[str, ...]
    """Why it was refused; empty when it passed."""
    warnings: tuple[str, ...]
    """What did not refuse it, and should be known: a verdict that noise left open."""
    checks: tuple[Check, ...]
    data: DataPart
    head_only: TrainedPart
    """The baseline: the frozen backbone with only its head trained."""
    teacher: TeacherPart
    student: StudentPart
    fidelity: FidelityPart
    classes: tuple[ClassQuality, ...]
    """What the student lost of each class, on the test split."""
    quantized: QuantizedPart | None = None
    """None where the fp32 file ships alone. Else student and fidelity are the chosen variant's."""
    parity: ParityPart
    overhead: Verdict | None
    """Whether the adapters' overhead is gone, with all numbers; None where that was not asked."""
    graphs: dict[str, Graph]
    """Structure of the ONNX files, by arm."""
    latency: tuple[Latency, ...]
    """One thread, in thread CPU time, cell by cell."""
    ladder: tuple[Rung, ...]
    """Wall time from the teacher in PyTorch down; empty where it was left out."""
    costs: dict[str, FileCost]
    """Each file with all cores: load time, memory, latency, throughput."""
    confidence: float
    """Confidence level of all intervals."""
    machine: dict[str, str]
    conditions: Conditions
    """How busy the machine was while it was measured."""
    versions: dict[str, str]
    artifacts: tuple[Artifact, ...]
    """Every file of the run; paths are relative to its folder."""
    timing_s: dict[str, float]
    """Seconds by stage; those of a reused stage are of the run that built it."""
    reused: tuple[str, ...]
    """Stages that were finished before this run."""

    def cells(self) -> list[dict[str, Latency]]:
        """Return the latency by arm, one entry a cell, in the order of their measurement."""
        cells: dict[str, dict[str, Latency]] = {}
        for entry in self.latency:
            cells.setdefault(entry.cell, {})[entry.arm] = entry
        return list(cells.values())

    @property
    def shipped_arm(self) -> str:
        """Return the benchmark's name of the file that ships."""
        return "student" if self.quantized is None else self.quantized.facts.arm
