"""Stage fuse: existing adapters learn to work together, and become the teacher.

It is a second stage of training (Pfeiffer et al., 2021, https://arxiv.org/abs/2005.00247, section
3.2). Backbone and adapters are frozen. Trainable are AdapterFusion, or one weight per site and
adapter, and a head for the run's own task.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor
from transformers import PreTrainedModel

from models.adapters.composition import Fuse, FusionSettings, Weighted, distance_from_identity
from models.adapters.hooks import add_fusion, set_active
from models.losses import Objective
from models.processes import is_first
from models.teacher import backbone_digest, freeze_adapters, frozen_digest
from pipeline.checkpoints.adapter_folders import (
    attach_adapter,
    attach_head,
    find_teacher_of,
    name_adapters,
)
from pipeline.checkpoints.context import ModelContext
from pipeline.checkpoints.pretrained import find_adapter_folder
from pipeline.checkpoints.teachers import (
    AdapterSet,
    describe_teacher,
    drop_lower_adapters,
    save_teacher,
)
from pipeline.config import AdapterSource, FuseConfig
from pipeline.facts.data import DataFacts
from pipeline.facts.training import TeacherFacts
from pipeline.store.stage import Stage
from pipeline.training.goal import Loss
from pipeline.training.on_labels import prepare_training, train_on_labels
from pipeline.training.ranks import in_processes


@dataclass(frozen=True, kw_only=True, slots=True)
class FuseSettings:
    """Settings that shape a fused teacher, beside data and baseline."""

    context: ModelContext
    training: FuseConfig
    source: AdapterSource
    files: str
    """Digest of the adapters' files."""


@in_processes
def fuse(
    data: Stage[DataFacts], head_from: Stage[TeacherFacts], settings: FuseSettings, out: Path
) -> TeacherFacts:
    """Train the composition of several adapters, and a head, and write the teacher to ``out``.

    Args:
        data: Splits to train and validate on.
        head_from: Baseline, whose head is the start if no adapter's teacher has these labels.
        settings: Backbone, adapters and settings of the training.
        out: Folder for the teacher.

    Raises:
        InputError: when a folder holds no adapter of this backbone, two have one name, or the loss
            is not finite.
        RuntimeError: when frozen weights changed, which would be a bug.
    """
    context = settings.context
    setup = prepare_training(data, head_from, context, settings.training)
    model, labels = setup.model, data.facts.labels
    composed = _compose(model, settings, labels)
    freeze_adapters(model)
    frozen = frozen_digest(model)
    penalty = settings.training.value_penalty
    loss = penalised(setup.objective, lambda: penalty * distance_from_identity(model))
    outcome = train_on_labels(
        setup, settings.training, out, context=context, loss=loss, title="fusing adapters"
    )
    if frozen_digest(model) != frozen:
        raise RuntimeError("Frozen weights changed while training. Nothing was saved.")
    if is_first():
        save_teacher(model, out, context=context, labels=labels, adapter=composed)
    return describe_teacher(
        model,
        adapter=settings.source,
        digest=backbone_digest(model),
        warnings=(),
        outcome=outcome,
    )


def penalised(objective: Objective, penalty: Callable[[], Tensor | float]) -> Loss:
    """Return the task's loss on labels, with the penalty added to its mean over a step's items.

    The loss is divided by the number of items, which are texts, windows or tokens.

    Args:
        objective: Losses of the task.
        penalty: Function that returns a scalar.
    """

    def loss(outputs: Tensor, labels: Tensor) -> Tensor:
        per_example = objective.hard(outputs, labels)  # (B,)
        if objective.count is None:
            return per_example + penalty()
        return per_example + penalty() * objective.count(labels) / len(per_example)

    return loss


def _compose(model: PreTrainedModel, settings: FuseSettings, labels: tuple[str, ...]) -> AdapterSet:
    """Attach the adapters and their composition to a model, in place."""
    source = settings.source
    folders = [find_adapter_folder(reference) for reference in source.references]
    named = name_adapters(folders, source.names)
    adapters = {
        name: attach_adapter(folder, name, model, settings.context.backbone)
        for name, folder in named.items()
    }
    if (trained := find_teacher_of(labels, folders)) is not None:
        attach_head(trained, model)
    is_fusion = source.trained_as == "fuse"
    composed = AdapterSet(
        adapters=adapters,
        active=Fuse(tuple(named)) if is_fusion else Weighted(tuple(named)),
        fusion=FusionSettings() if is_fusion else None,
    )
    composed = drop_lower_adapters(model, composed, source.drop_layers)
    add_fusion(model.base_model, composed.active, composed.fusion)
    set_active(model.base_model, composed.active)
    return composed
