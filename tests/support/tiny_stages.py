"""Fixtures: each stage of the chain, finished on tiny models and texts."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from models.losses import SINGLE_LABEL as OBJECTIVE
from pipeline.checkpoints.pretrained import Checkpoint, find_checkpoint
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
from pipeline.facts.absorption import AbsorbFacts
from pipeline.facts.data import DataFacts
from pipeline.facts.export import ExportFacts
from pipeline.facts.training import SoftTargetFacts, StudentFacts, TeacherFacts
from pipeline.facts.variants import QuantizeFacts
from pipeline.stages.absorb import absorb
from pipeline.stages.data import prepare_data
from pipeline.stages.distill import distill
from pipeline.stages.export import export
from pipeline.stages.finetune import finetune
from pipeline.stages.head_only import head_only
from pipeline.stages.quantize import quantize
from pipeline.stages.soft_targets import compute_soft_targets
from pipeline.store.stage import Stage
from pipeline.store.store import Store
from pipeline.tasks.classification import SINGLE_LABEL as TASK
from pipeline.texts.tables import read_split

MAX_LENGTH = 16
TRAINING = TrainingConfig(
    epochs=4, batch_size=16, learning_rate=1e-2, evaluations_per_epoch=1, precision="fp32"
)


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
