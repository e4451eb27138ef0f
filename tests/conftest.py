"""Shared fixtures: tiny models, batches, a checkpoint with a tokenizer, a data set. All offline."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # read when the hub client is imported, so before all else

import csv
import json
import random
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    BatchEncoding,
    BertTokenizerFast,
    PreTrainedModel,
)

from models.objective import SINGLE_LABEL as OBJECTIVE
from pipeline.absorb import absorb
from pipeline.artifacts import Stage, Store
from pipeline.checkpoints import Checkpoint, find_checkpoint
from pipeline.config import (
    AbsorbConfig,
    AdapterConfig,
    DataConfig,
    DistillConfig,
    ExportConfig,
    HeadOnlyConfig,
    ModelConfig,
    QuantizeConfig,
    TrainingConfig,
)
from pipeline.data import prepare_data
from pipeline.distill import distill
from pipeline.export import export
from pipeline.finetune import finetune
from pipeline.head_only import head_only
from pipeline.quantize import quantize
from pipeline.records import (
    AbsorbFacts,
    DataFacts,
    ExportFacts,
    QuantizeFacts,
    SoftTargetFacts,
    StudentFacts,
    TeacherFacts,
)
from pipeline.soft_targets import compute_soft_targets
from pipeline.tables import read_split
from pipeline.task import SINGLE_LABEL as TASK

pytest_plugins = ("onnx_graphs",)

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
GOOD = "good great lovely superb charming brilliant delightful fresh moving fine"
BAD = "bad awful boring dreadful dull stupid clumsy stale empty poor"
NEUTRAL = """
the a this that film movie story plot scene actor actress script director music camera ending is
was seems looks feels and but with of in about very quite rather really so too it we you i saw found
thought again today yesterday people family war city night day year part first last half long short
"""
DECODERS = ("llama", "mistral", "qwen2", "qwen3")
MAX_LENGTH = 16
TRAINING = TrainingConfig(
    epochs=4, batch_size=16, learning_rate=1e-2, evaluations_per_epoch=1, precision="fp32"
)


def make_classifier(model_type: str, *, seed: int = 0, **settings: object) -> PreTrainedModel:
    """Return a random classifier in eval mode: D = 32, two layers, three classes."""
    # Larger weights than the default's, so that activations are far from linear.
    shape = {
        "vocab_size": 100,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 64,
        "initializer_range": 0.2,
        "num_labels": 3,
        "hidden_dim" if model_type == "distilbert" else "intermediate_size": 64,
    }
    if model_type in ("electra", "albert"):
        shape["embedding_size"] = 32
    if model_type == "gpt2":
        shape["n_inner"] = shape.pop("intermediate_size")
        shape["activation_function"] = "gelu"
    if model_type == "albert":
        shape["hidden_act"] = "gelu"
    if model_type in DECODERS:
        shape |= {"num_key_value_heads": 1, "head_dim": 16}
    if model_type in (*DECODERS, "gpt2", "modernbert"):  # whose own are beyond 100 words
        shape |= {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "use_cache": False}
    torch.manual_seed(seed)
    config = AutoConfig.for_model(model_type, **shape | settings)
    return AutoModelForSequenceClassification.from_config(config).eval()


def make_batch(
    model: PreTrainedModel, lengths: Sequence[int], *, seed: int = 0, width: int | None = None
) -> BatchEncoding:
    """Return random token ids of the given lengths, padded on the right to the longest."""
    generator = torch.Generator().manual_seed(seed)
    shape = (len(lengths), width or max(lengths))
    ids = torch.full(shape, model.config.pad_token_id)
    mask = torch.zeros(shape, dtype=torch.long)
    for row, length in enumerate(lengths):
        ids[row, :length] = torch.randint(
            5, model.config.vocab_size, (length,), generator=generator
        )
        mask[row, :length] = 1
    return BatchEncoding({"input_ids": ids, "attention_mask": mask})


@pytest.fixture(scope="session")
def tiny_classifier() -> Callable[..., PreTrainedModel]:
    """``tiny_classifier(model_type, seed=0, **config)``: a random classifier in eval mode."""
    return make_classifier


@pytest.fixture(scope="session")
def token_batch() -> Callable[..., BatchEncoding]:
    """``token_batch(model, lengths, seed=0, width=None)``: token ids and mask, without labels."""
    return make_batch


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random BERT classifier of two classes and its fast tokenizer."""
    folder = tmp_path_factory.mktemp("tiny-bert")
    words = [*SPECIAL, *GOOD.split(), *BAD.split(), *NEUTRAL.split()]
    model = make_classifier("bert", vocab_size=len(words), num_labels=2)
    model.save_pretrained(folder)
    vocabulary = {word: index for index, word in enumerate(words)}
    BertTokenizerFast(vocab=vocabulary, model_max_length=64).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CSV with the columns text, label and source: 120 texts in `tiny_checkpoint`'s words."""
    path = tmp_path_factory.mktemp("tiny-data") / "reviews.csv"
    chance = random.Random(0)
    rows = []
    for number in range(120):
        label, opinions = ("positive", GOOD) if number % 2 else ("negative", BAD)
        words = chance.sample(opinions.split(), k=3)
        words += chance.sample(NEUTRAL.split(), k=chance.randint(2, 8))
        chance.shuffle(words)
        rows.append((" ".join(words), label, "press" if number % 3 else "forum"))
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label", "source"), *rows])
    return path


@pytest.fixture(scope="session")
def finish(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Stage]:
    """``finish(name, build, facts_type)``: a finished stage in a store of its own."""

    def finish(name: str, build: Callable[[Path], object], facts_type: type) -> Stage:
        store = Store(root=tmp_path_factory.mktemp(name))
        return store.ensure(name, build, facts_type, settings={})

    return finish


@pytest.fixture(scope="session")
def tiny_backbone(tiny_checkpoint: Path) -> Checkpoint:
    """`tiny_checkpoint`, found and digested."""
    return find_checkpoint(ModelConfig(model=str(tiny_checkpoint)))


@pytest.fixture(scope="session")
def tiny_data(finish: Callable[..., Stage], tiny_csv: Path) -> Stage[DataFacts]:
    """`tiny_csv` as 72 training, 24 validation and 24 test texts."""
    labels = ("negative", "positive")
    config = DataConfig(train=str(tiny_csv), labels=labels, validation_size=24, test_size=24)
    return finish("data", partial(prepare_data, config, seed=0), DataFacts)


@pytest.fixture(scope="session")
def tiny_head_only(
    finish: Callable[..., Stage], tiny_data: Stage[DataFacts], tiny_backbone: Checkpoint
) -> Stage[TeacherFacts]:
    """The baseline on `tiny_data`."""
    build = partial(
        head_only,
        tiny_data,
        tiny_backbone,
        HeadOnlyConfig(epochs=3, learning_rate=1e-2),
        task=TASK,
        objective=OBJECTIVE,
        max_length=MAX_LENGTH,
        seed=0,
    )
    return finish("head-only", build, TeacherFacts)


@pytest.fixture(scope="session")
def tiny_finetune(
    finish: Callable[..., Stage],
    tiny_data: Stage[DataFacts],
    tiny_head_only: Stage[TeacherFacts],
    tiny_backbone: Checkpoint,
) -> Callable[..., Stage[TeacherFacts]]:
    """``tiny_finetune(adapter=..., checkpoint=..., **training)``."""

    def tiny_finetune(
        *,
        adapter: AdapterConfig,
        checkpoint: Checkpoint = tiny_backbone,
        **training: object,
    ) -> Stage[TeacherFacts]:
        build = partial(
            finetune,
            tiny_data,
            checkpoint,
            TRAINING.model_copy(update=training),
            task=TASK,
            objective=OBJECTIVE,
            adapter=adapter,
            head_from=tiny_head_only,
            max_length=MAX_LENGTH,
            seed=0,
        )
        return finish("finetune", build, TeacherFacts)

    return tiny_finetune


@pytest.fixture(scope="session")
def tiny_teacher(tiny_finetune: Callable[..., Stage]) -> Stage[TeacherFacts]:
    """A trained teacher with Houlsby adapters."""
    return tiny_finetune(adapter=AdapterConfig(bottleneck_size=8))


@pytest.fixture(scope="session")
def tiny_targets(
    finish: Callable[..., Stage],
    tiny_data: Stage[DataFacts],
    tiny_teacher: Stage[TeacherFacts],
    tiny_backbone: Checkpoint,
) -> Stage[SoftTargetFacts]:
    """`tiny_teacher`'s logits on `tiny_data`."""
    build = partial(
        compute_soft_targets,
        tiny_data,
        tiny_teacher,
        tiny_backbone,
        objective=OBJECTIVE,
        texts=None,
        max_length=MAX_LENGTH,
    )
    return finish("soft-targets", build, SoftTargetFacts)


@pytest.fixture(scope="session")
def tiny_absorbed(
    finish: Callable[..., Stage],
    tiny_data: Stage[DataFacts],
    tiny_teacher: Stage[TeacherFacts],
    tiny_backbone: Checkpoint,
) -> Stage[AbsorbFacts]:
    """The student's closed-form start."""
    build = partial(
        absorb,
        read_split(tiny_data.folder, "train").texts,
        tiny_teacher.folder,
        tiny_backbone,
        AbsorbConfig(batch_size=8),
        task=TASK,
        objective=OBJECTIVE,
        layers=None,
        max_length=MAX_LENGTH,
        seed=0,
    )
    return finish("absorb", build, AbsorbFacts)


@pytest.fixture(scope="session")
def tiny_distill(
    finish: Callable[..., Stage],
    tiny_data: Stage[DataFacts],
    tiny_teacher: Stage[TeacherFacts],
    tiny_targets: Stage[SoftTargetFacts],
    tiny_backbone: Checkpoint,
) -> Callable[..., Stage[StudentFacts]]:
    """``tiny_distill(absorbed=None, layers=None, **settings)``: a student of `tiny_teacher`."""

    def tiny_distill(
        *,
        absorbed: Stage[AbsorbFacts] | None = None,
        layers: tuple[int, ...] | None = None,
        **settings: object,
    ) -> Stage[StudentFacts]:
        plain = {"epochs": 1, "batch_size": 16, "evaluations_per_epoch": 1, "precision": "fp32"}
        build = partial(
            distill,
            tiny_data,
            tiny_teacher,
            tiny_targets,
            absorbed,
            tiny_backbone,
            DistillConfig(**plain | settings),
            task=TASK,
            objective=OBJECTIVE,
            layers=layers,
            max_length=MAX_LENGTH,
            seed=0,
        )
        return finish("distill", build, StudentFacts)

    return tiny_distill


@pytest.fixture(scope="session")
def tiny_student(
    tiny_distill: Callable[..., Stage], tiny_absorbed: Stage[AbsorbFacts]
) -> Stage[StudentFacts]:
    """The distilled student of `tiny_teacher`."""
    return tiny_distill(absorbed=tiny_absorbed)


@pytest.fixture(scope="session")
def tiny_export(
    finish: Callable[..., Stage],
    tiny_data: Stage[DataFacts],
    tiny_head_only: Stage[TeacherFacts],
    tiny_teacher: Stage[TeacherFacts],
    tiny_student: Stage[StudentFacts],
    tiny_backbone: Checkpoint,
) -> Stage[ExportFacts]:
    """Backbone, teacher and student as ONNX bundles."""
    build = partial(
        export,
        tiny_data,
        tiny_head_only,
        tiny_teacher,
        tiny_student,
        tiny_backbone,
        ExportConfig(),
        objective=OBJECTIVE,
        max_length=MAX_LENGTH,
    )
    return finish("export", build, ExportFacts)


@pytest.fixture(scope="session")
def tiny_quantize(
    finish: Callable[..., Stage], tiny_data: Stage[DataFacts], tiny_export: Stage[ExportFacts]
) -> Callable[..., Stage[QuantizeFacts]]:
    """``tiny_quantize(**settings)``: the variants of the student in `tiny_export`."""

    def tiny_quantize(**settings: object) -> Stage[QuantizeFacts]:
        quick = {"calibration_texts": 16, "blocks": 4, "calls": 1, "bootstrap_samples": 100}
        build = partial(
            quantize,
            tiny_data,
            tiny_export,
            QuantizeConfig(**quick | settings),
            task=TASK,
            seed=0,
        )
        return finish("quantize", build, QuantizeFacts)

    return tiny_quantize


@pytest.fixture(scope="session")
def tiny_quantized(tiny_quantize: Callable[..., Stage]) -> Stage[QuantizeFacts]:
    """The variants, of which none is refused."""
    return tiny_quantize(max_metric_drop=1.0, max_agreement_drop=1.0)


def write_hub_adapter(folder: Path, name: str, *, head: bool = True, seed: int = 0) -> Path:
    """Write a checkpoint as the adapters library does, for D = 32 and two layers."""
    folder.mkdir(parents=True)

    def draw(*shape: int, seed: int) -> torch.Tensor:
        return 0.3 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))

    config = {
        "mh_adapter": False,
        "output_adapter": True,
        "original_ln_before": True,
        "non_linearity": "relu",
        "reduction_factor": 8,
    }
    meta = {"hidden_size": 32, "model_type": "bert", "name": name, "version": "adapters.1.3.0"}
    (folder / "adapter_config.json").write_text(json.dumps(meta | {"config": config}))
    tensors = {}
    for layer in (0, 1):
        prefix = f"bert.encoder.layer.{layer}.output.adapters.{name}"
        tensors |= {
            f"{prefix}.adapter_down.0.weight": draw(4, 32, seed=seed + layer),
            f"{prefix}.adapter_down.0.bias": draw(4, seed=seed + layer + 10),
            f"{prefix}.adapter_up.weight": draw(32, 4, seed=seed + layer + 20),
            f"{prefix}.adapter_up.bias": draw(32, seed=seed + layer + 30),
        }
    torch.save(tensors, folder / "pytorch_adapter.bin")
    if head:
        numbers = {"negative": 0, "positive": 1}
        (folder / "head_config.json").write_text(json.dumps({"config": None, "label2id": numbers}))
        torch.save(
            {"classifier.weight": draw(2, 32, seed=5), "classifier.bias": draw(2, seed=6)},
            folder / "pytorch_model_head.bin",
        )
    return folder


@pytest.fixture(scope="session")
def hub_adapter() -> Callable[..., Path]:
    """``hub_adapter(folder, name, head=True, seed=0)``: an AdapterHub checkpoint."""
    return write_hub_adapter


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of this session's own Prefect server; its tests share the xdist group ``prefect``."""
    # Imported here, because most workers never need it.
    from prefect.settings import (
        PREFECT_API_URL,
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
        PREFECT_HOME,
        temporary_settings,
    )
    from prefect.testing.utilities import prefect_test_harness

    settings = {
        PREFECT_HOME: tmp_path_factory.mktemp("prefect"),
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,
    }
    with temporary_settings(settings), prefect_test_harness(server_startup_timeout=120):
        yield str(PREFECT_API_URL.value())


@pytest.fixture(scope="session")
def smoke_overrides(tiny_checkpoint: Path, tiny_csv: Path) -> list[str]:
    """What ``--set`` gives configs/smoke.toml, beside ``runs_dir``."""
    return [f"teacher.model={tiny_checkpoint}", f"data.train={tiny_csv}"]


@pytest.fixture(scope="session")
def smoke_run(
    prefect_server: str,
    smoke_overrides: list[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The folder of the first run of configs/smoke.toml; its parent is the ``runs_dir``."""
    from flows.chain import adapter_to_student
    from pipeline.config_file import load_config

    assert prefect_server.startswith("http")
    overrides = [*smoke_overrides, f"runs_dir={tmp_path_factory.mktemp('runs')}"]
    return adapter_to_student(load_config(Path("configs/smoke.toml"), overrides))


@pytest.fixture(scope="session")
def write_words_bundle() -> Callable[..., Path]:
    """``write_words_bundle(folder, seed=0)``: an unsealed bundle of a bag-of-words classifier."""

    def write_words_bundle(folder: Path, *, seed: int = 0) -> Path:
        import numpy as np
        from onnx import TensorProto, checker, helper, numpy_helper, save
        from tokenizers import Tokenizer, models, pre_tokenizers, processors

        words = [*SPECIAL, *GOOD.split(), *BAD.split(), *NEUTRAL.split()]
        tokenizer = Tokenizer(
            models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]")
        )
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
        table = np.random.default_rng(seed).normal(size=(len(words), 2)).astype(np.float32)
        ids = ("batch", "seq")
        graph = helper.make_graph(
            [
                helper.make_node("Gather", ["table", "input_ids"], ["rows"]),  # (B, T, C)
                helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
                helper.make_node("Unsqueeze", ["mask", "last"], ["wide"]),
                helper.make_node("Mul", ["rows", "wide"], ["kept"]),
                helper.make_node("ReduceSum", ["kept", "middle"], ["logits"], keepdims=0),
            ],
            "bag-of-words",
            [
                helper.make_tensor_value_info(name, TensorProto.INT64, ids)
                for name in ("input_ids", "attention_mask")
            ],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ("batch", 2))],
            [
                numpy_helper.from_array(table, "table"),
                numpy_helper.from_array(np.array([2]), "last"),
                numpy_helper.from_array(np.array([1]), "middle"),
            ],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        checker.check_model(model)
        (folder / "onnx").mkdir(parents=True)
        save(model, folder / "onnx" / "model.onnx")
        tokenizer.save(str(folder / "tokenizer.json"))
        (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": MAX_LENGTH}))
        labels = {"0": "negative", "1": "positive"}
        (folder / "config.json").write_text(json.dumps({"id2label": labels, "pad_token_id": 0}))
        return folder

    return write_words_bundle


@pytest.fixture(scope="session")
def write_run(write_words_bundle: Callable[..., Path]) -> Callable[..., Path]:
    """``write_run(folder, ...)``: a finished run with a sealed bundle and a report.

    ``accuracy`` is that of its 400 test texts; ``checks`` are (value, limit) of upper bounds.
    """

    def write_run(
        folder: Path,
        *,
        name: str = "tiny",
        seed: int = 0,
        accuracy: float = 0.8,
        data: str = "d" * 64,
        checks: Sequence[tuple[float, float]] = ((0.0, 0.01),),
    ) -> Path:
        import numpy as np

        from pipeline.bundle import seal_bundle

        seal_bundle_of = write_words_bundle(folder / "student", seed=seed)
        seal_bundle(seal_bundle_of)
        labels = np.arange(400) % 2
        right = np.arange(400) < round(accuracy * 400)
        predicted = np.where(right, labels, 1 - labels)
        (folder / "evaluate").mkdir()
        logits = np.eye(2, dtype=np.float32)[predicted]
        np.savez(folder / "evaluate" / "logits.npz", labels=labels, student=logits)
        held = [
            {
                "name": f"check {number}",
                "value": value,
                "limit": limit,
                "bound": "at most",
                "passed": True,
                "explanation": f"Check {number}: {value} is over {limit}.",
            }
            for number, (value, limit) in enumerate(checks)
        ]
        report = {
            "run_id": folder.name,
            "name": name,
            "verdict": "passed" if all(value <= limit for value, limit in checks) else "refused",
            "reasons": [],
            "checks": held,
            "data": {"digest": data},
            "student": {
                "metrics": {"accuracy": accuracy},
                "intervals": {"accuracy": [accuracy - 0.04, accuracy + 0.04]},
                "curve": [{"step": 3, "train_loss": 0.5, "validation": {"accuracy": 0.7}}],
            },
            "fidelity": {"agreement": 0.98, "mean_kl": 0.002},
        }
        (folder / "report.json").write_text(json.dumps(report))
        (folder / "config.json").write_text(json.dumps({"name": name, "distill": {"epochs": 3}}))
        return folder

    return write_run


@pytest.fixture(scope="session")
def empty_registry_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry's database as it is created; that takes seconds, so tests copy it."""
    from pipeline.registry import open_registry

    folder = tmp_path_factory.mktemp("registry")
    open_registry(None, folder)
    return folder / "mlflow.db"


@pytest.fixture
def registry(empty_registry_file: Path, tmp_path: Path) -> object:
    """An empty registry in ``tmp_path / "runs"``."""
    from pipeline.registry import open_registry

    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "mlflow.db").write_bytes(empty_registry_file.read_bytes())
    return open_registry(None, tmp_path / "runs")
