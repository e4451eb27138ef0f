"""Absorb without the chain: a teacher's folder and a file of texts in, a student's folder out."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from pipeline.checkpoints.context import ModelContext, find_device
from pipeline.checkpoints.pretrained import find_checkpoint
from pipeline.checkpoints.teachers import check_backbone_of, read_teacher
from pipeline.config import AbsorbConfig, ModelConfig
from pipeline.errors import InputError
from pipeline.facts.absorption import AbsorbFacts
from pipeline.stages.absorb import AbsorbSettings, absorb_teacher
from pipeline.tasks.table import find_task
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
    if out.exists():
        raise InputError(f"{out} exists already. Give the path of a new folder.")
    description = read_teacher(teacher)
    checkpoint = find_checkpoint(ModelConfig(model=backbone or description.backbone))
    check_backbone_of(teacher, description, checkpoint)
    context = ModelContext(
        backbone=checkpoint,
        task=find_task(description.task),
        max_length=description.max_length,
        seed=0,
        device=find_device(),
    )
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    partial.mkdir(parents=True)
    try:
        facts = absorb_teacher(
            texts, teacher, AbsorbSettings(context=context, absorb=config, layers=layers), partial
        )
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return facts
