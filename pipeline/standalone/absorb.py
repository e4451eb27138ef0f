"""Absorb without the chain: a teacher's folder and a file of texts in, a student's folder out."""

from collections.abc import Sequence
from pathlib import Path

from models.losses import SINGLE_LABEL as OBJECTIVE
from pipeline.checkpoints.teachers import find_backbone
from pipeline.config import AbsorbConfig
from pipeline.facts.absorption import AbsorbFacts
from pipeline.stages.absorb import absorb
from pipeline.store.files import new_folder
from pipeline.tasks.classification import SINGLE_LABEL as TASK
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
        return absorb(
            texts,
            teacher,
            checkpoint,
            config,
            partial,
            task=TASK,
            objective=OBJECTIVE,
            layers=layers,
            max_length=description.max_length,
            seed=0,
        )
