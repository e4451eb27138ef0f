"""Absorb without the chain: a teacher's folder and a file of texts in, a student's folder out."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.checkpoints.context import ModelContext, find_device
from pipeline.checkpoints.teachers import find_backbone
from pipeline.config import AbsorbConfig
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
        description, checkpoint = find_backbone(teacher, backbone)
        context = ModelContext(
            backbone=checkpoint,
            task=find_task(description.task),
            max_length=description.max_length,
            seed=0,
            device=find_device(),
        )
        return absorb_teacher(
            texts, teacher, AbsorbSettings(context=context, absorb=config, layers=layers), partial
        )
