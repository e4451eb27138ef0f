"""A whole run: every table of a config file."""

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from pipeline.config.cluster import ClusterConfig
from pipeline.config.comparison import CompareConfig
from pipeline.config.compute import ComputeConfig
from pipeline.config.data import DataConfig
from pipeline.config.onnx_files import ExportConfig, QuantizeConfig
from pipeline.config.proof import BenchmarkConfig, EvaluateConfig, GateConfig
from pipeline.config.release import RegistryPlace, ReleaseConfig
from pipeline.config.section import Section
from pipeline.config.student import AbsorbConfig, StudentConfig
from pipeline.config.sweep import SweepConfig
from pipeline.config.task import TaskName
from pipeline.config.teacher import TeacherConfig
from pipeline.config.training import DistillConfig, FuseConfig, HeadOnlyConfig, TrainingConfig


class RunConfig(Section):
    """A whole run: from texts to a gated ONNX student."""

    name: str = Field(default="student", pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    """Name of the student: lower-case letters, digits and dashes."""

    runs_dir: Path = RegistryPlace().runs_dir
    """Folder for runs and finished stages."""

    shared_stages: str | None = None
    """URI of finished stages that machines share, such as ``s3://bucket/stages``; any that fsspec
    opens. A stage that is finished there is fetched; any other is built here and published."""

    seed: int = Field(default=0, ge=0, lt=2**32)
    """Seed of the splits, the initialisation and the order of the batches."""

    task: TaskName = "classification"
    """Kind of answer to a text or a pair. A classification gives one of data.labels, a multi-label
    task any number of them. A regression gives a number. A token-classification gives a tag for
    each word. A question-answering gives the part of a context that answers a question. A causal-lm
    continues texts."""

    compute: ComputeConfig = ComputeConfig()
    """Processors that the stages use; they change results only by rounding."""

    cluster: ClusterConfig = ClusterConfig()
    """Machines that share the soft targets."""

    data: DataConfig
    """Texts, labels and splits."""

    teacher: TeacherConfig
    """Backbone and adapters."""

    head_only: HeadOnlyConfig = HeadOnlyConfig()
    """Training of the baseline: the frozen backbone with only its head."""

    finetune: TrainingConfig = TrainingConfig()
    """Training of the teacher's adapters and head."""

    fuse: FuseConfig = FuseConfig()
    """Training of a composition of adapters, where ``teacher.adapter.together`` names one."""

    student: StudentConfig = StudentConfig()
    """Shape of the student."""

    absorb: AbsorbConfig = AbsorbConfig()
    """Closed-form start of the student: the adapters, moved into its own weights."""

    distill: DistillConfig = DistillConfig()
    """KL distillation of the student."""

    export: ExportConfig = ExportConfig()
    """Export to ONNX."""

    quantize: QuantizeConfig = QuantizeConfig()
    """Faster variants of the student, such as int8."""

    evaluate: EvaluateConfig = EvaluateConfig()
    """Measurement of quality and fidelity on the test split."""

    benchmark: BenchmarkConfig = BenchmarkConfig()
    """Measurement of latency, and the verdict on the adapters' overhead."""

    gate: GateConfig = GateConfig()
    """Limits that a student must reach to ship."""

    compare: CompareConfig = CompareConfig()
    """Other methods to adapt the backbone, for `adapter-distill compare`."""

    sweep: SweepConfig = SweepConfig()
    """Smaller students, for `adapter-distill sweep`."""

    pools: dict[str, str] = Field(default_factory=dict)
    """Work pools that build some of the stages, by stage, such as ``finetune = "gpu"``. All workers
    need the same runs_dir. Every other stage is built where the run is."""

    release: ReleaseConfig = ReleaseConfig()
    """Registry and promotion."""

    @model_validator(mode="after")
    def _check_shards(self) -> Self:
        if self.cluster.shards > 1 and "soft-targets" in self.pools:
            raise ValueError(
                "pools: cluster.shards cuts the soft targets into shards, and a pool builds them "
                "whole. Leave one of them out"
            )
        return self

    @model_validator(mode="after")
    def _check_labels(self) -> Self:
        found, columns = len(self.data.labels), self.data.label_columns
        if self.task == "question-answering":
            return self._check_questions()
        if len(columns) > 1 and self.task != "multi-label":
            raise ValueError(
                f"data.label: a {self.task} has one label column, found {len(columns)}. Give one, "
                'or set task = "multi-label" for columns of 0 and 1'
            )
        if len(columns) > 1 and self.data.labels not in ((), columns):
            raise ValueError(
                f"data.labels: the label columns {list(columns)} name the labels themselves, found "
                f"{list(self.data.labels)}. Leave data.labels out"
            )
        if self.task == "regression" and found:
            raise ValueError(
                f"data.labels: a regression has numbers as labels, found {found} names. Leave "
                "data.labels out"
            )
        if self.task == "causal-lm":
            if found or len(self.data.text_columns) > 1:
                raise ValueError(
                    f"data: a causal-lm has one text column and no labels, found {found} labels "
                    f"and the columns {list(self.data.text_columns)}. Leave data.labels out, and "
                    "give one text column"
                )
            return self
        if self.task == "token-classification":
            if not found or len(self.data.text_columns) > 1:
                raise ValueError(
                    "data.labels: a token classification has one text column, of lists of words, "
                    "and the types of its entities as labels. Give them, such as person"
                )
        elif self.task != "regression" and found < 2 and len(columns) == 1:
            raise ValueError(
                f"data.labels: expected at least two label names, found {found}. Give the names in "
                'class order, or set task = "regression" for labels that are numbers'
            )
        return self

    def _check_questions(self) -> Self:
        if self.data.labels or len(self.data.text_columns) != 2 or len(self.data.label_columns) > 2:
            raise ValueError(
                "data: a question answering has two text columns, of questions and of contexts, "
                "and a label column of answers. A second label column may say which questions are "
                'impossible. Set text = ["question", "context"] and label = "answers", and leave '
                "labels out"
            )
        return self

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.gate.max_latency_ms is not None and not self.benchmark.has_ladder:
            raise ValueError(
                "gate.max_latency_ms needs the ladder's times: set benchmark.ladder_blocks to 3 or "
                f"more, now {self.benchmark.ladder_blocks}"
            )
        return self
