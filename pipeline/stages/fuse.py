"""Stage fuse: adapters that there are already learn to work together, and become the teacher.

A second stage of training (Pfeiffer et al., 2021, https://arxiv.org/abs/2005.00247, section 3.2):
backbone and adapters are frozen; what trains is AdapterFusion, or one weight a site and adapter,
and a head for the run's own task.
"""

from pathlib import Path

from torch import Tensor

from models.adapters.composition import Fuse, FusionSettings, Weighted, distance_from_identity
from models.adapters.hooks import add_fusion, set_active
from models.losses import Objective
from models.teacher import backbone_digest, freeze_adapters, frozen_digest
from pipeline.checkpoints.adapter_folders import (
    find_teacher_of,
    hang_adapter,
    hang_head,
    name_adapters,
)
from pipeline.checkpoints.pretrained import Checkpoint, find_adapter_folder
from pipeline.checkpoints.teachers import (
    ImportedAdapters,
    describe_teacher,
    drop_lower_adapters,
    save_teacher,
)
from pipeline.config import AdapterSource, FuseConfig
from pipeline.facts.data import DataFacts
from pipeline.facts.training import TeacherFacts
from pipeline.store.stage import Stage
from pipeline.tasks.task import Task
from pipeline.training.on_labels import prepare_training, train_on_labels


def fuse(
    data: Stage[DataFacts],
    checkpoint: Checkpoint,
    source: AdapterSource,
    config: FuseConfig,
    out: Path,
    *,
    task: Task,
    objective: Objective,
    head_from: Stage[TeacherFacts],
    max_length: int,
    seed: int,
) -> TeacherFacts:
    """Train how several adapters work together, and a head; write the teacher to ``out``.

    Args:
        data: The splits.
        checkpoint: The backbone that all adapters were trained in.
        source: The adapters.
        head_from: The baseline, whose head is the start of this one's where none of the adapters'
            teachers has one for these labels.
        max_length: Longest input, in tokens.

    Raises:
        InputError: when a folder holds no adapter of this backbone, two have one name, or the loss
            is not finite.
        RuntimeError: when frozen weights changed, which would be a bug.
    """
    folders = [find_adapter_folder(reference) for reference in source.references]
    named = name_adapters(folders, source.names)
    begun = prepare_training(
        data,
        checkpoint,
        config,
        objective=objective,
        head_from=head_from,
        max_length=max_length,
        seed=seed,
    )
    model = begun.model
    adapters = {
        name: hang_adapter(folder, name, model, checkpoint) for name, folder in named.items()
    }
    if (trained := find_teacher_of(data.facts.labels, folders)) is not None:
        hang_head(trained, model)
    is_fusion = source.trained_as == "fuse"
    composed = ImportedAdapters(
        adapters=adapters,
        active=Fuse(tuple(named)) if is_fusion else Weighted(tuple(named)),
        fusion=FusionSettings() if is_fusion else None,
    )
    composed = drop_lower_adapters(model, composed, source.drop_layers)
    add_fusion(model.base_model, composed.active, composed.fusion)
    set_active(model.base_model, composed.active)
    freeze_adapters(model)
    frozen = frozen_digest(model)

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        per_example = objective.hard(logits, labels)  # (B,)
        return per_example + config.value_penalty * distance_from_identity(model)

    outcome = train_on_labels(
        begun, config, out, task=task, loss=loss, seed=seed, title="fusing adapters"
    )
    if frozen_digest(model) != frozen:
        raise RuntimeError("Frozen weights changed while training. Nothing was saved.")
    save_teacher(
        model,
        out,
        checkpoint=checkpoint,
        labels=data.facts.labels,
        adapter=composed,
        max_length=max_length,
    )
    return describe_teacher(
        model,
        adapter=source,
        digest=backbone_digest(model),
        warnings=(),
        outcome=outcome,
    )
