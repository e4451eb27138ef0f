"""Absorb without the chain: a teacher's folder and texts in, a student's folder out.

The student is a model of its own, or LoRA for the teacher's backbone. With LoRA one backbone serves
many absorbed teachers.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from transformers import PreTrainedModel

from models.adapters.invertible import has_invertible
from pipeline.checkpoints.compute import find_compute
from pipeline.checkpoints.context import ModelContext
from pipeline.checkpoints.lora_folders import save_as_lora
from pipeline.checkpoints.pretrained import Checkpoint, find_architecture
from pipeline.checkpoints.teachers import TeacherDescription, find_backbone, load_backed_teacher
from pipeline.config import AbsorbConfig
from pipeline.errors import InputError
from pipeline.facts.absorption import AbsorbFacts
from pipeline.stages.absorb import AbsorbSettings, absorb_teacher
from pipeline.store.files import new_folder
from pipeline.tasks.all_tasks import find_task
from pipeline.texts.tables import Text


def absorb_alone(
    teacher: Path,
    texts: Sequence[Text],
    out: Path,
    config: AbsorbConfig,
    *,
    backbone: str | None = None,
    layers: tuple[int, ...] | None = None,
) -> AbsorbFacts:
    """Write the absorbed student to the new folder ``out``, whole or not at all.

    Args:
        teacher: Folder of a finetune stage, such as ``runs/latest/finetune``.
        texts: Unlabelled texts or pairs.
        backbone: The teacher's backbone; None takes the one that the teacher names.
        layers: Layers that the student keeps; None keeps all.

    Raises:
        InputError: when ``out`` exists, the backbone is not the one that the teacher was trained
            on, or whatever `absorb` refuses.
    """
    with new_folder(out) as partial:
        settings = _settings(*find_backbone(teacher, backbone), config)
        return absorb_teacher(texts, teacher, replace(settings, layers=layers), partial)


def absorb_as_lora(
    teacher: Path,
    texts: Sequence[Text],
    out: Path,
    config: AbsorbConfig,
    *,
    rank: int,
    backbone: str | None = None,
) -> AbsorbFacts:
    """Write the absorbed student to the new folder ``out`` as PEFT's LoRA, whole or not at all.

    Args:
        teacher: Folder of a finetune stage, such as ``runs/latest/finetune``.
        texts: Unlabelled texts or pairs.
        config: How; settings that change the backbone's shape are not for LoRA, and left out.
        rank: Of each site's change.
        backbone: The teacher's backbone; None takes the one that the teacher names.

    Raises:
        InputError: when ``out`` exists, the backbone is not the one that the teacher was trained
            on, the teacher changes the embeddings, the rank is not below the hidden size, or
            whatever `absorb` refuses.
    """
    with new_folder(out) as partial, TemporaryDirectory(dir=out.parent, prefix=".lora-") as whole:
        description, checkpoint, model = load_backed_teacher(teacher, backbone=backbone)
        _check_lora(model, rank, teacher)
        fixed = {"exact": "never", "extra_units": 0, "add_biases": False}
        settings = _settings(description, checkpoint, config.model_copy(update=fixed))
        student = Path(whole) / "student"
        student.mkdir()
        facts = absorb_teacher(texts, teacher, replace(settings, rank=rank), student)
        save_as_lora(student, settings.context, description.labels, partial, rank=rank)
        return facts


def _settings(
    description: TeacherDescription, checkpoint: Checkpoint, config: AbsorbConfig
) -> AbsorbSettings:
    context = ModelContext(
        backbone=checkpoint,
        task=find_task(description.task),
        max_length=description.max_length,
        seed=0,
        compute=find_compute(),
    )
    return AbsorbSettings(context=context, absorb=config, layers=None)


def _check_lora(model: PreTrainedModel, rank: int, teacher: Path) -> None:
    if has_invertible(model):
        raise InputError(
            f"The teacher in {teacher} has an invertible adapter, which changes the embeddings: "
            "LoRA cannot hold that. Absorb it into a model of its own, without --as lora."
        )
    hidden = find_architecture(model).hidden_size(model.base_model)
    if rank >= hidden:
        raise InputError(
            f"--rank: expected less than the {hidden} units of the backbone's hidden states, found "
            f"{rank}. Such LoRA would be larger than the layers that it changes."
        )
