"""Teachers on disk, as what they add to a backbone: adapters, head, and how to build them again.

The backbone itself is not copied: its reference and its digest are kept. Weights are safetensors.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter
from safetensors.torch import save_file
from transformers import PreTrainedModel

from models.adapters.composition import Composition, FusionSettings
from models.adapters.drop import drop_adapters
from models.adapters.hooks import add_adapter, add_fusion, insert_adapters, set_active, settings_of
from models.adapters.site import AdapterSettings
from models.teacher import count_parameters, load_trained_tensors, trained_tensors
from pipeline.checkpoints.context import ModelContext
from pipeline.checkpoints.pretrained import Checkpoint, find_architecture, find_checkpoint
from pipeline.checkpoints.tensors import check_tensors, load_tensors
from pipeline.checkpoints.weights import load_model
from pipeline.config import AdapterConfig, AdapterSource, ModelConfig
from pipeline.config.task import TaskName
from pipeline.errors import InputError, refusing
from pipeline.facts.training import TeacherFacts, TrainingOutcome
from pipeline.store.json_files import read_json
from pipeline.tasks.all_tasks import find_task

TEACHER_TENSORS = "teacher.safetensors"
TEACHER_FACTS = "teacher.json"
TRAINED = "task"
"""Name of the adapter that the chain trains."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AdapterSet:
    """Adapters that were trained elsewhere, and how they work together."""

    adapters: dict[str, AdapterSettings]
    """By name."""
    active: Composition
    fusion: FusionSettings | None = None
    """Settings of the AdapterFusion in it, where there is one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TeacherDescription:
    """Description of a teacher in its folder, beside its tensors."""

    labels: tuple[str, ...]
    adapter: AdapterConfig | AdapterSet | None
    backbone: str
    """Reference of its backbone."""
    backbone_digest: str
    max_length: int
    """Longest input, in tokens."""
    task: TaskName = "classification"


_DESCRIPTION = TypeAdapter(TeacherDescription)


def add_adapters(model: PreTrainedModel, adapter: AdapterConfig | AdapterSet) -> None:
    """Attach new adapters to a classifier's backbone, in place, and activate them.

    Raises:
        InputError: when no adapter sites are known for the architecture.
    """
    architecture = find_architecture(model)
    if isinstance(adapter, AdapterConfig):
        insert_adapters(
            model.base_model,
            architecture,
            _settings(adapter),
            initialisation=adapter.initialisation,
            name=TRAINED,
        )
        return
    for name, settings in adapter.adapters.items():
        add_adapter(model.base_model, architecture, name, settings)
    add_fusion(model.base_model, adapter.active, adapter.fusion)
    set_active(model.base_model, adapter.active)


def drop_lower_adapters(model: PreTrainedModel, imported: AdapterSet, layers: int) -> AdapterSet:
    """Take adapters out of a model's first layers, in place; return what is left of them.

    Raises:
        InputError: when no layer would be left.
    """
    if not layers:
        return imported
    try:
        drop_adapters(model.base_model, find_architecture(model), layers)
    except ValueError as error:
        raise InputError(f"teacher.adapter.drop_layers: {error}.") from error
    adapters = {
        name: replace(settings, without=tuple(sorted({*settings.without, *range(layers)})))
        for name, settings in imported.adapters.items()
    }
    return replace(imported, adapters=adapters)


def adapters_of(adapter: AdapterConfig | AdapterSet) -> AdapterSet:
    """Return a teacher's adapters by name, and how they work together: one trained, or imported."""
    if isinstance(adapter, AdapterSet):
        return adapter
    return AdapterSet(adapters={TRAINED: _settings(adapter)}, active=TRAINED)


def _settings(adapter: AdapterConfig) -> AdapterSettings:
    return settings_of(**adapter.model_dump(exclude={"initialisation", "random_drop"}))


def save_teacher(
    model: PreTrainedModel,
    out: Path,
    *,
    context: ModelContext,
    labels: tuple[str, ...],
    adapter: AdapterConfig | AdapterSet | None,
) -> None:
    """Write what the teacher adds to its backbone, and how to build it."""
    save_file(trained_tensors(model), out / TEACHER_TENSORS)
    description = TeacherDescription(
        labels=labels,
        adapter=adapter,
        backbone=context.backbone.reference,
        backbone_digest=context.backbone.digest,
        max_length=context.max_length,
        task=context.task.name,
    )
    plain = _DESCRIPTION.dump_python(description, mode="json")
    (out / TEACHER_FACTS).write_text(json.dumps(plain, indent=2))


def read_teacher(folder: Path) -> TeacherDescription:
    """Return what `save_teacher` wrote of a teacher.

    Raises:
        InputError: when the folder does not hold one.
    """
    missing = [name for name in (TEACHER_FACTS, TEACHER_TENSORS) if not (folder / name).is_file()]
    if missing:
        raise InputError(
            f"{folder} is not a teacher: it has no {' and no '.join(missing)}. Give the folder of "
            "a finetune stage, such as runs/latest/finetune, or of import-adapter."
        )
    return read_json(
        folder / TEACHER_FACTS,
        _DESCRIPTION,
        expected="a teacher's description",
        advice="Fine-tune it again, or copy its folder anew.",
    )


def load_teacher(checkpoint: Checkpoint, folder: Path) -> PreTrainedModel:
    """Return the teacher that `save_teacher` wrote, in eval mode, on its backbone.

    Raises:
        InputError: when the folder holds no teacher of this backbone, or a damaged one.
    """
    description = read_teacher(folder)
    objective = find_task(description.task).objective()
    model = load_model(checkpoint, objective, labels=description.labels)
    if description.adapter is not None:
        with refusing(
            f"{folder / TEACHER_FACTS} describes adapters that cannot be built",
            "Fine-tune the teacher again, or copy its folder anew.",
        ):
            add_adapters(model, description.adapter)
    load_trained(model, folder)
    model.eval()
    return model


def load_trained(model: PreTrainedModel, folder: Path) -> None:
    """Set adapters and head of a model to those in a teacher's folder, in place.

    Raises:
        InputError: when the folder's tensors are damaged, or not those of this model's adapters
            and head; nothing is set then.
    """
    path = folder / TEACHER_TENSORS
    tensors = load_tensors(path)
    advice = f"{TEACHER_FACTS} beside them describes others: train the teacher again."
    check_tensors(path, tensors, trained_tensors(model), advice=advice)
    load_trained_tensors(model, tensors)


def load_backed_teacher(
    folder: Path, *, backbone: str | None = None
) -> tuple[TeacherDescription, Checkpoint, PreTrainedModel]:
    """Return a teacher with what its folder says of it, on the backbone that it was trained on.

    Args:
        backbone: Where that is; None takes the one that the teacher names.

    Raises:
        InputError: when the folder holds no teacher, or the backbone is another one.
    """
    description, checkpoint = find_backbone(folder, backbone)
    return description, checkpoint, load_teacher(checkpoint, folder)


def find_backbone(folder: Path, backbone: str | None) -> tuple[TeacherDescription, Checkpoint]:
    """Return what a teacher's folder says of it, and the backbone that it was trained on.

    Args:
        folder: The teacher's.
        backbone: Where the backbone is; None takes the one that the teacher names.

    Raises:
        InputError: when the folder holds no teacher, or the backbone is another one or is gone.
    """
    description = read_teacher(folder)
    try:
        checkpoint = find_checkpoint(ModelConfig(model=backbone or description.backbone))
    except InputError as error:
        raise type(error)(f"The teacher in {folder} needs its backbone. {error}") from error
    check_backbone_of(folder, description, checkpoint)
    return description, checkpoint


def check_backbone_of(
    folder: Path, description: TeacherDescription, checkpoint: Checkpoint
) -> None:
    """Refuse a backbone that a teacher was not trained on."""
    if checkpoint.digest != description.backbone_digest:
        raise InputError(
            f"The teacher in {folder} was not trained on the backbone "
            f"{checkpoint.reference}: expected the digest {description.backbone_digest[:12]}, "
            f"found {checkpoint.digest[:12]}. Give its own backbone as --backbone, or as "
            "teacher.model in a config."
        )


def describe_teacher(
    model: PreTrainedModel,
    *,
    adapter: AdapterConfig | AdapterSource | None,
    digest: str,
    warnings: tuple[str, ...],
    outcome: TrainingOutcome,
) -> TeacherFacts:
    """Return the record of a trained teacher: what trained, how many parameters, how it went."""
    count = count_parameters(model)
    return TeacherFacts(
        adapter=adapter,
        total_parameters=count.total,
        trainable_parameters=count.trainable,
        adapter_parameters=count.adapter,
        head_parameters=count.head,
        trainable_percent=round(count.trainable_percent, 3),
        trainable_names=count.trainable_names,
        backbone_sha256=digest,
        warnings=warnings,
        outcome=outcome,
    )
