"""What a run is asked to do: one frozen class per TOML table.

The same classes are the TOML file, the JSON schema and the Prefect flow's parameters, so that a
field is described once. Config is data: nothing here reads a file.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    field_validator,
    model_validator,
)

SplitSize = Annotated[int, Field(ge=1)] | Annotated[float, Field(gt=0, lt=1)]


def _without_markup(schema: dict[str, Any]) -> None:
    """Take the double backticks out of a schema's descriptions: a form shows them as they are."""
    for part in (schema, *schema.get("properties", {}).values()):
        if "description" in part:
            part["description"] = " ".join(part["description"].replace("``", "").split())


class Section(BaseModel):
    """A table of the config: frozen, and unknown keys are refused."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        json_schema_extra=_without_markup,
        field_title_generator=lambda name, _: name.replace("_", " ").capitalize(),
    )


class DataConfig(Section):
    """Texts, labels and splits."""

    train: str
    """A CSV, TSV, JSONL or Parquet file, a file inside an installed package
    (``package://name/path.csv``) or a Hugging Face data set (``owner/name@split``)."""

    validation: str | None = None
    """The same for the validation split; without it, a part of ``train`` is held out."""

    test: str | None = None
    """The same for the test split; without it, a part of ``train`` is held out."""

    subset: str | None = None
    """Configuration name of a Hugging Face data set, such as ``sst2`` of ``nyu-mll/glue``."""

    text: tuple[str, ...] | str = "text"
    """Name of the text column, or of the two columns of a sentence pair."""

    label: str = "label"
    """Name of the label column."""

    labels: tuple[str, ...] = Field(min_length=2)
    """Label names in class order. Values in the data are names, or indices into this list."""

    filter: dict[str, str] = Field(default_factory=dict)
    """Keep only the rows whose columns have these values."""

    train_size: int | None = Field(default=None, ge=1)
    """At most this many training texts; all of them by default."""

    validation_size: SplitSize = 0.1
    """Texts (whole number) or part (fraction) of ``train`` held out where none is given."""

    test_size: SplitSize = 0.1
    """Texts (whole number) or part (fraction) of ``train`` held out where none is given."""

    max_length: int = Field(default=128, ge=4)
    """Longest input in tokens; what is longer is truncated."""

    @field_validator("text", mode="before")
    @classmethod
    def _check_text(cls, value: object) -> object:
        names = list(value) if isinstance(value, list | tuple) else [value]
        if len(names) not in (1, 2) or not all(isinstance(name, str) for name in names):
            raise ValueError("expected one or two column names")
        return tuple(names) if len(names) == 2 else names[0]

    @field_validator("labels")
    @classmethod
    def _check_labels(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) != len(value):
            raise ValueError("expected distinct names")
        return value

    @property
    def text_columns(self) -> tuple[str, ...]:
        """The text columns: one, or two for sentence pairs."""
        return (self.text,) if isinstance(self.text, str) else self.text


class AdapterConfig(Section):
    """The bottleneck adapters that are trained inside the frozen backbone."""

    kind: Literal["houlsby", "pfeiffer", "parallel"] = "houlsby"
    """``houlsby``: after attention and after the FFN; ``pfeiffer``: after the FFN;
    ``parallel``: beside the FFN."""

    bottleneck_size: int = Field(default=64, ge=1)
    """Width of the bottleneck, in units."""

    activation: Literal["relu", "gelu", "silu", "linear"] = "relu"
    """Non-linearity between the projections. ``linear``: none; a linear adapter folds exactly."""

    initialisation: Literal["zero_up", "small"] = "zero_up"
    """``zero_up``: a new adapter is exactly the identity; ``small``: normal with std 0.01."""

    scaling: float = Field(default=1.0, gt=0)
    """Factor on the adapter's output before the residual sum."""

    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout probability on the bottleneck's units while training."""


class AdapterSource(Section):
    """Adapters that were trained elsewhere, instead of trained ones: the chain starts at absorb."""

    model_config = ConfigDict(serialize_by_alias=True)

    from_: tuple[str, ...] | str = Field(alias="from", min_length=1)
    """AdapterHub checkpoints: a path, ``package://name/folder`` or a Hugging Face id; several for
    a composition. One of them has the head; a single one may hold ``adapter_setup.json``."""

    together: Literal["stack", "average"] | None = None
    """How several adapters work together: one after the other, or their mean."""

    fusion: str | None = None
    """The same kind of reference to the AdapterFusion over several adapters."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.together is not None and self.fusion is not None:
            raise ValueError("together and fusion exclude each other: give one of them")
        if len(self.references) > 1 and self.together is None and self.fusion is None:
            raise ValueError(
                "several adapters: say how they work together, with together = 'stack' or "
                "'average', or with fusion"
            )
        return self

    @property
    def references(self) -> tuple[str, ...]:
        """The checkpoints, one an adapter."""
        return (self.from_,) if isinstance(self.from_, str) else self.from_


def _adapter_kind(value: object) -> str:
    imported = "from" in value if isinstance(value, dict) else isinstance(value, AdapterSource)
    return "imported" if imported else "trained"


def _any_of(schema: dict[str, Any]) -> None:
    """Let a form offer the choice: forms know anyOf, and not pydantic's oneOf."""
    schema["anyOf"] = schema.pop("oneOf")


AdapterChoice = Annotated[
    Annotated[AdapterConfig, Tag("trained")] | Annotated[AdapterSource, Tag("imported")],
    Discriminator(_adapter_kind),
]
"""Adapters that are trained, or, with the key ``from``, imported ones."""


class ModelConfig(Section):
    """A pretrained transformer."""

    model: str
    """Hugging Face id, path of a folder, or ``package://name/folder``."""

    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    """Expected sha256 of the weights; checked when given."""


class TeacherConfig(ModelConfig):
    """The backbone and its adapters."""

    adapter: AdapterChoice = Field(default=AdapterConfig(), json_schema_extra=_any_of)
    """The adapters: trained by this run, or with ``from`` those that were trained elsewhere."""

    start: str | None = None
    """Folder of a trained teacher, such as ``runs/latest/finetune``: its adapters and head are the
    start. It must have the same adapters, labels and backbone."""


class StudentConfig(Section):
    """The adapter-free model that ships."""

    layers: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] | None = None
    """Backbone layers to keep, from 0; all by default."""

    model: ModelConfig | None = None
    """Another pretrained model instead of the teacher's backbone."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.layers is not None and self.model is not None:
            raise ValueError("layers and model exclude each other: give one of them")
        return self

    @field_validator("layers")
    @classmethod
    def _check_layers(cls, value: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if value is not None and list(value) != sorted(set(value)):
            raise ValueError("expected increasing layer numbers")
        return value


class HeadOnlyConfig(Section):
    """The baseline: a head trained on what the frozen backbone makes of each text, once."""

    texts: int | None = Field(default=None, ge=1)
    """At most this many training texts; all of them by default."""

    epochs: int = Field(default=20, ge=1)
    """Passes over the training texts' features."""

    batch_size: int = Field(default=32, ge=1)
    """Texts per step."""

    learning_rate: float = Field(default=1e-3, gt=0)
    """Peak learning rate."""

    weight_decay: float = Field(default=0.01, ge=0)
    """AdamW's decoupled weight decay."""


class TrainingConfig(Section):
    """One training by gradient descent (AdamW, linear warm-up and decay)."""

    epochs: float = Field(default=3.0, gt=0)
    """Passes over the training split."""

    batch_size: int = Field(default=32, ge=1)
    """Texts per step and device."""

    gradient_accumulation: int = Field(default=1, ge=1)
    """Batches per optimizer step."""

    learning_rate: float = Field(default=5e-4, gt=0)
    """Peak learning rate."""

    warmup: float = Field(default=0.1, ge=0, lt=1)
    """Part of the steps over which the learning rate rises."""

    weight_decay: float = Field(default=0.01, ge=0)
    """AdamW's decoupled weight decay."""

    max_grad_norm: float = Field(default=1.0, gt=0)
    """Gradients are clipped to this L2 norm."""

    dropout: float | None = Field(default=None, ge=0, lt=1)
    """Dropout of the transformer while training; the checkpoint's own by default."""

    evaluations_per_epoch: int = Field(default=2, ge=1)
    """Validations, and checkpoints, per epoch."""

    patience: int = Field(default=4, ge=1)
    """Stop after this many validations without improvement."""

    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """``auto`` takes bf16 where the hardware has it and a trial step is faster with it."""


class AbsorbConfig(Section):
    """Moving the adapters into the student's own weights in closed form."""

    enabled: bool = True
    """Start the student from the absorbed adapters rather than from the plain backbone."""

    texts: int = Field(default=4000, ge=8)
    """Training texts (without their labels) to fit on."""

    exact: Literal["never", "free", "always"] = "free"
    """Fold adapters exactly instead, where an exact fold exists: ``free`` only where it needs no
    wider FFN (linear adapters), ``always`` also where it does (parallel ones with the FFN's
    activation)."""

    extra_units: int = Field(default=0, ge=0)
    """Units that every FFN of the student gains, fitted to what the regressions leave over. They
    cost what they add: 48 on 1,536 make the FFN 3 % larger."""

    add_biases: bool = True
    """Give the student's dense layers biases where its architecture has a setting for them and the
    backbone has none (ModernBERT, Llama): they take what the adapters' own biases do. They cost
    one addition a layer."""

    held_out: float = Field(default=0.1, gt=0, lt=0.5)
    """Part of those texts on which the ridge strength is chosen."""

    batch_size: int = Field(default=32, ge=1)
    """Texts per forward pass."""


class DistillConfig(TrainingConfig):
    """KL distillation of the student from the teacher's soft targets."""

    learning_rate: float = Field(default=1e-5, gt=0)
    """Peak learning rate: an absorbed student wants 1e-5 or less, a plain backbone about 1e-4."""

    dropout: float | None = Field(default=0.0, ge=0, lt=1)
    """Dropout of the student while training; off by default, as its targets are exact."""

    temperature: float = Field(default=2.0, gt=0)
    """Both distributions are softened by it."""

    alpha: float = Field(default=1.0, ge=0, le=1)
    """Weight of the soft term; 1 - alpha is the weight of the labels' cross-entropy."""

    texts: int | None = Field(default=None, ge=1)
    """At most this many training texts; all of them by default."""


class ExportConfig(Section):
    """ONNX export, the same recipe for backbone, teacher and student."""

    opset: int = Field(default=20, ge=17, le=23)
    """ONNX operator set."""

    parity_tolerance: float = Field(default=1e-4, gt=0)
    """Largest accepted logit difference to torch, times max(1, largest logit)."""


class QuantizeConfig(Section):
    """Variants of the student's ONNX file (int8, fused, fp16); the fastest good one ships."""

    enabled: bool = True
    """Make them. Otherwise the fp32 file ships alone, as it was exported."""

    texts: int = Field(default=1000, ge=2)
    """At most this many validation texts to judge the variants on."""

    calibration_texts: int = Field(default=256, ge=1)
    """Training texts (without their labels) that show how large activations get."""

    max_metric_drop: float = Field(default=0.005, ge=0, le=1)
    """Largest accepted loss of the main metric against the fp32 student (0.005 is half a point)."""

    max_agreement_drop: float = Field(default=0.02, ge=0, le=1)
    """Largest accepted loss of agreement with the teacher against the fp32 student's."""

    fp16_tolerance: float = Field(default=0.05, gt=0)
    """Largest accepted logit difference of the fp16 file, times max(1, largest logit)."""

    bootstrap_samples: int = Field(default=1000, ge=100)
    """Resamples of the validation texts behind each interval of a cost."""

    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """Confidence level of the intervals."""

    blocks: int = Field(default=10, ge=4)
    """Blocks of the timing; each opens every variant anew."""

    calls: int = Field(default=8, ge=1)
    """Timed texts per block."""

    seconds: float = Field(default=30.0, gt=0)
    """No new block is begun after this many seconds, once four are done."""


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

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.max_blocks < self.min_blocks:
            raise ValueError("expected max_blocks to be at least min_blocks")
        if self.max_margin < self.min_margin:
            raise ValueError("expected max_margin to be at least min_margin")
        return self


class GateConfig(Section):
    """What a student must reach."""

    max_accuracy_drop: float = Field(default=0.01, ge=0, le=1)
    """Largest accepted loss of accuracy against the teacher (0.01 is one point)."""

    min_agreement: float = Field(default=0.95, ge=0, le=1)
    """Least part of the test texts on which student and teacher give the same label."""

    max_latency_ratio: float = Field(default=1.05, gt=0)
    """Refused when the student is surely slower than this many times the plain backbone."""

    overhead: Literal["gone", "not_refuted", "any"] = "not_refuted"
    """What the benchmark's verdict must say of the adapters' overhead. ``gone``: it must be proven
    gone. ``not_refuted``: refused only where it surely remains; a machine too noisy to tell gives
    a warning, since noise is no evidence against a student. ``any``: the verdict is only shown."""


class LoraConfig(Section):
    """LoRA by PEFT, on the attention's projections that PEFT names for the architecture."""

    rank: int = Field(default=8, ge=1)
    """Rank of each change."""

    alpha: int = Field(default=16, ge=1)
    """A change is multiplied by alpha / rank."""

    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout probability on a change's input while training."""


class CompareConfig(Section):
    """What `adapter-distill compare` sets side by side; `finetune` is the budget of all."""

    methods: tuple[Literal["houlsby", "pfeiffer", "parallel", "lora", "full"], ...] = (
        "houlsby",
        "pfeiffer",
        "parallel",
        "lora",
        "full",
    )
    """Kinds of adapters, LoRA, and full fine-tuning; the frozen backbone with its head is always
    there."""

    bottleneck_sizes: tuple[Annotated[int, Field(ge=1)], ...] = (16, 256)
    """Further sizes of Houlsby adapters, beside the teacher's own."""

    lora: LoraConfig = LoraConfig()
    """Rank and scale of LoRA."""

    lora_learning_rate: float = Field(default=1e-3, gt=0)
    """Peak learning rate of LoRA; that of the adapters is `finetune.learning_rate`."""

    full_learning_rate: float = Field(default=1e-4, gt=0)
    """Peak learning rate of full fine-tuning."""


class ReleaseConfig(Section):
    """What becomes of a finished run."""

    register_run: bool = True
    """Whether the run and its student go into the registry."""

    registry: str | None = None
    """URI of an MLflow server or database; ``mlflow.db`` in ``runs_dir`` by default."""

    max_champion_drop: float = Field(default=0.0, ge=0, le=1)
    """Not promoted when its accuracy is surely lower than the champion's by more than this."""


class RunConfig(Section):
    """A whole run: from texts to a gated ONNX student."""

    name: str = Field(default="student", pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    """Name of the student: lower-case letters, digits and dashes."""

    runs_dir: Path = Path("runs")
    """Folder for runs and finished stages."""

    seed: int = Field(default=0, ge=0, lt=2**32)
    """Seed of the splits, the initialisation and the order of the batches."""

    data: DataConfig
    """Texts, labels and splits."""

    teacher: TeacherConfig
    """Backbone and adapters."""

    head_only: HeadOnlyConfig = HeadOnlyConfig()
    """Training of the baseline: the frozen backbone with only its head."""

    finetune: TrainingConfig = TrainingConfig()
    """Training of the teacher's adapters and head."""

    student: StudentConfig = StudentConfig()
    """Shape of the student."""

    absorb: AbsorbConfig = AbsorbConfig()
    """Closed-form start of the student."""

    distill: DistillConfig = DistillConfig()
    """KL distillation of the student."""

    export: ExportConfig = ExportConfig()
    """ONNX export."""

    quantize: QuantizeConfig = QuantizeConfig()
    """Faster variants of the student."""

    evaluate: EvaluateConfig = EvaluateConfig()
    """Quality and fidelity."""

    benchmark: BenchmarkConfig = BenchmarkConfig()
    """Latency."""

    gate: GateConfig = GateConfig()
    """Acceptance."""

    compare: CompareConfig = CompareConfig()
    """Other ways to adapt the backbone, for `adapter-distill compare`."""

    release: ReleaseConfig = ReleaseConfig()
    """Registry and promotion."""
