"""Fixtures: each stage of the chain, finished on tiny models and texts.

They are real steps in `tiny_store`, where equal ones are built once. A test that needs a build to
happen gives a store of its own: ``store=Store(root=tmp_path)``.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.checkpoints.context import ModelContext
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
from pipeline.facts.compute import Compute
from pipeline.facts.data import DataFacts, UnlabelledFacts
from pipeline.facts.export import ExportFacts
from pipeline.facts.training import SoftTargetFacts, StudentFacts, TeacherFacts
from pipeline.facts.variants import QuantizeFacts
from pipeline.stages.absorb import AbsorbSettings, absorb
from pipeline.stages.data import DataSettings, prepare_data
from pipeline.stages.distill import DistillSettings, distill
from pipeline.stages.export import ExportSettings, export
from pipeline.stages.finetune import FinetuneSettings, TeacherStart, finetune
from pipeline.stages.head_only import HeadOnlySettings, head_only
from pipeline.stages.quantize import QuantizeSettings, quantize
from pipeline.stages.soft_targets import SoftTargetSettings, compute_soft_targets
from pipeline.store.stage import Stage
from pipeline.store.step import step
from pipeline.store.store import Store
from pipeline.tasks.classification import CLASSIFICATION
from pipeline.texts.sources import fingerprint
from pipeline.timing.machine import describe_machine

TRAINING = TrainingConfig(
    epochs=4, batch_size=16, learning_rate=1e-2, evaluations_per_epoch=1, precision="fp32"
)


@pytest.fixture(scope="session")
def tiny_backbone(tiny_checkpoint: Path) -> Checkpoint:
    """`tiny_checkpoint`, found and digested."""
    return find_checkpoint(ModelConfig(model=str(tiny_checkpoint)))


@pytest.fixture(scope="session")
def tiny_context(tiny_backbone: Checkpoint) -> ModelContext:
    """`tiny_backbone`, for a classification of 16 tokens on the CPU."""
    return ModelContext(
        backbone=tiny_backbone,
        task=CLASSIFICATION,
        max_length=16,
        seed=0,
        compute=Compute(),
    )


@pytest.fixture(scope="session")
def tiny_data(tiny_store: Store, tiny_csv: Path) -> Stage[DataFacts]:
    """`tiny_csv` as 72 training, 24 validation and 24 test texts."""
    labels = ("negative", "positive")
    settings = DataSettings(
        task=CLASSIFICATION,
        data=DataConfig(
            train=str(tiny_csv), labels=labels, validation_size=24, test_size=24, max_length=16
        ),
        sources=(fingerprint(str(tiny_csv)),),
        seed=0,
    )
    return tiny_store.ensure(step("data", prepare_data, settings=settings, facts=DataFacts))


@pytest.fixture(scope="session")
def tiny_head_only(
    tiny_store: Store, tiny_data: Stage[DataFacts], tiny_context: ModelContext
) -> Stage[TeacherFacts]:
    """The baseline on `tiny_data`."""
    settings = HeadOnlySettings(
        context=tiny_context, training=HeadOnlyConfig(epochs=3, learning_rate=1e-2)
    )
    return tiny_store.ensure(
        step("head-only", head_only, tiny_data, settings=settings, facts=TeacherFacts)
    )


@pytest.fixture(scope="session")
def tiny_finetune(
    tiny_store: Store,
    tiny_data: Stage[DataFacts],
    tiny_head_only: Stage[TeacherFacts],
    tiny_context: ModelContext,
) -> Callable[..., Stage[TeacherFacts]]:
    """``tiny_finetune(adapter=..., checkpoint=..., start=None, store=..., **training)``."""

    def tiny_finetune(
        *,
        adapter: AdapterConfig,
        checkpoint: Checkpoint = tiny_context.backbone,
        start: TeacherStart | None = None,
        store: Store = tiny_store,
        **training: object,
    ) -> Stage[TeacherFacts]:
        settings = FinetuneSettings(
            context=replace(tiny_context, backbone=checkpoint),
            training=TRAINING.model_copy(update=training),
            adapter=adapter,
            start=start,
        )
        return store.ensure(
            step(
                "finetune",
                finetune,
                tiny_data,
                tiny_head_only,
                settings=settings,
                facts=TeacherFacts,
            )
        )

    return tiny_finetune


@pytest.fixture(scope="session")
def tiny_teacher(tiny_finetune: Callable[..., Stage]) -> Stage[TeacherFacts]:
    """A trained teacher with Houlsby adapters."""
    return tiny_finetune(adapter=AdapterConfig(bottleneck_size=8))


@pytest.fixture(scope="session")
def tiny_targets(
    tiny_store: Store,
    tiny_data: Stage[DataFacts],
    tiny_teacher: Stage[TeacherFacts],
    tiny_context: ModelContext,
) -> Stage[SoftTargetFacts]:
    """`tiny_teacher`'s logits on `tiny_data`."""
    return tiny_store.ensure(
        step(
            "soft-targets",
            compute_soft_targets,
            tiny_data,
            None,
            tiny_teacher,
            settings=SoftTargetSettings(context=tiny_context, texts=None),
            facts=SoftTargetFacts,
        )
    )


@pytest.fixture(scope="session")
def tiny_absorb(
    tiny_store: Store,
    tiny_data: Stage[DataFacts],
    tiny_teacher: Stage[TeacherFacts],
    tiny_context: ModelContext,
) -> Callable[..., Stage[AbsorbFacts]]:
    """``tiny_absorb(teacher=..., unlabelled=None, layers=None, store=..., **settings)``."""

    def tiny_absorb(
        *,
        teacher: Stage[TeacherFacts] = tiny_teacher,
        unlabelled: Stage[UnlabelledFacts] | None = None,
        layers: tuple[int, ...] | None = None,
        store: Store = tiny_store,
        **settings: object,
    ) -> Stage[AbsorbFacts]:
        config = AbsorbConfig(**{"batch_size": 8} | settings)
        absorbing = AbsorbSettings(context=tiny_context, absorb=config, layers=layers)
        return store.ensure(
            step(
                "absorb",
                absorb,
                tiny_data,
                unlabelled,
                teacher,
                settings=absorbing,
                facts=AbsorbFacts,
            )
        )

    return tiny_absorb


@pytest.fixture(scope="session")
def tiny_absorbed(tiny_absorb: Callable[..., Stage]) -> Stage[AbsorbFacts]:
    """The closed-form start of `tiny_teacher`'s student."""
    return tiny_absorb()


@pytest.fixture(scope="session")
def tiny_distill(
    tiny_store: Store,
    tiny_data: Stage[DataFacts],
    tiny_teacher: Stage[TeacherFacts],
    tiny_targets: Stage[SoftTargetFacts],
    tiny_context: ModelContext,
) -> Callable[..., Stage[StudentFacts]]:
    """``tiny_distill(absorbed=None, unlabelled=None, targets=..., layers=None, **settings)``."""

    def tiny_distill(
        *,
        absorbed: Stage[AbsorbFacts] | None = None,
        unlabelled: Stage[UnlabelledFacts] | None = None,
        targets: Stage[SoftTargetFacts] = tiny_targets,
        layers: tuple[int, ...] | None = None,
        store: Store = tiny_store,
        **settings: object,
    ) -> Stage[StudentFacts]:
        plain = {"epochs": 1, "batch_size": 16, "evaluations_per_epoch": 1, "precision": "fp32"}
        config = DistillConfig(**plain | settings)
        return store.ensure(
            step(
                "distill",
                distill,
                tiny_data,
                unlabelled,
                tiny_teacher,
                targets,
                absorbed,
                settings=DistillSettings(context=tiny_context, distill=config, layers=layers),
                facts=StudentFacts,
            )
        )

    return tiny_distill


@pytest.fixture(scope="session")
def tiny_student(
    tiny_distill: Callable[..., Stage], tiny_absorbed: Stage[AbsorbFacts]
) -> Stage[StudentFacts]:
    """The distilled student of `tiny_teacher`."""
    return tiny_distill(absorbed=tiny_absorbed)


@pytest.fixture(scope="session")
def tiny_export(
    tiny_store: Store,
    tiny_data: Stage[DataFacts],
    tiny_head_only: Stage[TeacherFacts],
    tiny_teacher: Stage[TeacherFacts],
    tiny_student: Stage[StudentFacts],
    tiny_context: ModelContext,
) -> Stage[ExportFacts]:
    """Backbone, teacher and student as ONNX bundles."""
    return tiny_store.ensure(
        step(
            "export",
            export,
            tiny_data,
            tiny_head_only,
            tiny_teacher,
            tiny_student,
            settings=ExportSettings(context=tiny_context, export=ExportConfig()),
            facts=ExportFacts,
        )
    )


@pytest.fixture(scope="session")
def tiny_quantize(
    tiny_store: Store, tiny_data: Stage[DataFacts], tiny_export: Stage[ExportFacts]
) -> Callable[..., Stage[QuantizeFacts]]:
    """``tiny_quantize(store=..., **settings)``: the variants of the student in `tiny_export`."""

    def tiny_quantize(*, store: Store = tiny_store, **settings: object) -> Stage[QuantizeFacts]:
        quick = {"calibration_texts": 16, "blocks": 4, "calls": 1, "bootstrap_samples": 100}
        quantizing = QuantizeSettings(
            task=CLASSIFICATION,
            quantize=QuantizeConfig(**quick | settings),
            seed=0,
            machine=describe_machine(),
        )
        return store.ensure(
            step(
                "quantize",
                quantize,
                tiny_data,
                tiny_export,
                settings=quantizing,
                facts=QuantizeFacts,
            )
        )

    return tiny_quantize


@pytest.fixture(scope="session")
def tiny_quantized(tiny_quantize: Callable[..., Stage]) -> Stage[QuantizeFacts]:
    """The variants, of which none is refused."""
    return tiny_quantize(max_metric_drop=1.0, max_agreement_drop=1.0)
