"""Stage finetune: a frozen backbone with new adapters and a head becomes a teacher."""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from transformers import PreTrainedModel

from models.adapters.drop import check_droppable, drop_randomly
from models.processes import is_first
from models.teacher import backbone_digest, freeze_backbone
from pipeline.checkpoints.context import ModelContext
from pipeline.checkpoints.pretrained import find_architecture
from pipeline.checkpoints.teachers import (
    add_adapters,
    describe_teacher,
    load_trained,
    read_teacher,
    save_teacher,
)
from pipeline.config import AdapterConfig, TrainingConfig
from pipeline.errors import InputError
from pipeline.facts.data import DataFacts
from pipeline.facts.training import TeacherFacts
from pipeline.store.stage import Stage
from pipeline.training.encoding import compute_outputs
from pipeline.training.on_labels import prepare_training, train_on_labels
from pipeline.training.ranks import in_processes

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class TeacherStart:
    """A trained teacher, from whose adapters and head a training continues."""

    folder: Path
    sha256: str
    """Digest of the teacher's tensors."""

    def key(self) -> str:
        """Return the start's part of a stage's key, which is its content and not its path."""
        return self.sha256


@dataclass(frozen=True, kw_only=True, slots=True)
class FinetuneSettings:
    """Settings that shape a teacher, beside data and baseline."""

    context: ModelContext
    training: TrainingConfig
    adapter: AdapterConfig
    start: TeacherStart | None = None


@in_processes
def finetune(
    data: Stage[DataFacts],
    head_from: Stage[TeacherFacts],
    settings: FinetuneSettings,
    out: Path,
) -> TeacherFacts:
    """Train adapters and head on a frozen backbone, and write them to ``out``.

    Args:
        data: Splits to train and validate on.
        head_from: Baseline, whose head is the start of the teacher's.
        settings: Backbone, adapters and settings of the training.
        out: Folder for the teacher.

    Raises:
        InputError: for an unreadable model, an unknown architecture, a start that does not fit,
            or a loss that is not finite.
        RuntimeError: when the backbone's weights changed, which would be a bug.
    """
    context, adapter = settings.context, settings.adapter
    setup = prepare_training(data, head_from, context, settings.training)
    model = setup.model
    probe = partial(compute_outputs, model, setup.objective, setup.tokenizer, setup.validation[:32])
    notes = _insert(model, adapter, probe)
    if settings.start is not None:
        _start_at(model, settings.start.folder, settings, data.facts.labels)
    freeze_backbone(model)
    digest = backbone_digest(model)
    with _random_drop(model, adapter):
        outcome = train_on_labels(
            setup, settings.training, out, context=context, title="fine-tuning"
        )
    if backbone_digest(model) != digest:
        raise RuntimeError("The frozen backbone changed while training. Nothing was saved.")
    if is_first():
        save_teacher(model, out, context=context, labels=data.facts.labels, adapter=adapter)
    return describe_teacher(model, adapter=adapter, digest=digest, warnings=notes, outcome=outcome)


def _start_at(
    model: PreTrainedModel, start: Path, settings: FinetuneSettings, labels: tuple[str, ...]
) -> None:
    """Load a trained teacher's adapters and head into the model, or refuse them."""
    found, adapter, context = read_teacher(start), settings.adapter, settings.context
    expected = (adapter, labels, context.backbone.digest, context.task.name)
    if (found.adapter, found.labels, found.backbone_digest, found.task) != expected:
        raise InputError(
            f"teacher.start = {start}: its adapters ({found.adapter}), labels ({found.labels}), "
            f"task ({found.task}) or backbone ({found.backbone}) are not this run's ({adapter}, "
            f"{labels}, {context.task.name}). Give a teacher of the same kind, or leave "
            "teacher.start out."
        )
    load_trained(model, start)


def _random_drop(model: PreTrainedModel, adapter: AdapterConfig) -> AbstractContextManager[object]:
    if not adapter.random_drop:
        return nullcontext()
    return drop_randomly(model.base_model, find_architecture(model), adapter.random_drop)


def _check_drop(model: PreTrainedModel, adapter: AdapterConfig) -> None:
    """Refuse adapters that are dropped from every layer."""
    for setting in ("drop_layers", "random_drop"):
        layers = getattr(adapter, setting)
        try:
            check_droppable(model.base_model, find_architecture(model), layers)
        except ValueError as error:
            raise InputError(f"teacher.adapter.{setting}: {error}.") from error


def _insert(
    model: PreTrainedModel, adapter: AdapterConfig, probe: Callable[[], np.ndarray]
) -> tuple[str, ...]:
    """Add the adapters, and return warnings of common mistakes in their settings."""
    _check_drop(model, adapter)
    before = probe()
    add_adapters(model, adapter)
    moved = float(np.nanmax(np.abs(probe() - before)) / max(1e-6, np.nanmax(np.abs(before))))
    hidden_size = model.config.hidden_size
    size = adapter.bottleneck_size
    notes = []
    if size * 64 < hidden_size:
        notes.append(
            f"bottleneck_size {size} is under 1/64 of the hidden size {hidden_size}. The adapters "
            "may be too small to learn the task; 1/16 to 1/4 is usual"
        )
    if size * 2 > hidden_size:
        notes.append(
            f"bottleneck_size {size} is over half of the hidden size {hidden_size}. The adapters "
            "are no bottleneck, and cost as much as training the layers; 1/16 to 1/4 is usual"
        )
    if moved > 0.1:
        notes.append(
            f"initialisation {adapter.initialisation!r} moves the backbone's outputs by "
            f"{moved:.0%} before any training; zero_up starts at exactly the backbone's own"
        )
    for note in notes:
        logger.warning("adapters: %s", note)
    return tuple(notes)
