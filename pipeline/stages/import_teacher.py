"""Stage import: adapters that there are already become the teacher, in finetune's place."""

import re
from pathlib import Path

from transformers import PreTrainedModel

from models.losses import Objective
from models.teacher import backbone_digest, freeze_backbone
from pipeline.checkpoints.adapter_folders import head_labels, holds_teacher
from pipeline.checkpoints.adapter_setup import find_setup, hang_setup
from pipeline.checkpoints.pretrained import Checkpoint, find_adapter_folder, load_tokenizer
from pipeline.checkpoints.teachers import (
    ImportedAdapters,
    adapters_of,
    check_backbone_of,
    describe_teacher,
    drop_lower_adapters,
    load_teacher,
    read_teacher,
    save_teacher,
)
from pipeline.config import AdapterSource
from pipeline.errors import InputError
from pipeline.facts.data import DataFacts
from pipeline.facts.training import Point, TeacherFacts, TrainingOutcome
from pipeline.store.stage import Stage
from pipeline.tasks.task import Task
from pipeline.texts.tables import read_split
from pipeline.training.encoding import encode, predict_logits

_UNNAMED = re.compile(r"LABEL_\d+")
"""What transformers calls a label that was given no name."""


def import_teacher(
    data: Stage[DataFacts],
    checkpoint: Checkpoint,
    source: AdapterSource,
    out: Path,
    *,
    task: Task,
    objective: Objective,
    max_length: int,
) -> TeacherFacts:
    """Write the imported teacher to ``out``; nothing is trained.

    Args:
        data: The splits; the teacher is measured on the validation split.
        checkpoint: The backbone that the adapters were trained in.
        max_length: Longest input, in tokens.

    Raises:
        InputError: when the checkpoints are not sound, or their head's labels are not the data's.
    """
    labels = data.facts.labels
    model, adapters = _bring(source, checkpoint, objective, labels)
    adapters = drop_lower_adapters(model, adapters, source.drop_layers)
    freeze_backbone(model)
    tokenizer = load_tokenizer(checkpoint, max_length=max_length)
    validation = read_split(data.folder, "validation")
    examples = encode(tokenizer, validation.texts, max_length=max_length)
    metrics = task.metrics(predict_logits(model, tokenizer, examples), validation.labels)
    save_teacher(
        model,
        out,
        checkpoint=checkpoint,
        labels=labels,
        adapter=adapters,
        max_length=max_length,
    )
    return describe_teacher(
        model,
        adapter=source,
        digest=backbone_digest(model),
        warnings=(),
        outcome=TrainingOutcome(
            steps=0,
            best_step=0,
            best_metric=metrics[task.main_metric],
            precision="fp32",
            curve=(Point(step=0, validation=metrics),),
        ),
    )


def _bring(
    source: AdapterSource, checkpoint: Checkpoint, objective: Objective, labels: tuple[str, ...]
) -> tuple[PreTrainedModel, ImportedAdapters]:
    """Return a classifier with the adapters, active, and their head."""
    folders = [find_adapter_folder(reference) for reference in source.references]
    if len(folders) == 1 and holds_teacher(folders[0]):
        return _take_over(folders[0], checkpoint, objective, labels)
    if source.together == "fuse" or source.together == "weigh":
        raise TypeError(f"a composition that is trained, {source.together!r}, is not imported")
    setup = find_setup(
        folders,
        names=source.names,
        fusion=None if source.fusion is None else find_adapter_folder(source.fusion),
        together=source.together,
        labels=labels,
    )
    _check_labels(head_labels(setup.head), labels, setup.head)
    return hang_setup(setup, checkpoint, objective, labels=labels)


def _take_over(
    folder: Path, checkpoint: Checkpoint, objective: Objective, labels: tuple[str, ...]
) -> tuple[PreTrainedModel, ImportedAdapters]:
    """Return a teacher of an earlier run, whatever its adapters do together."""
    description = read_teacher(folder)
    check_backbone_of(folder, description, checkpoint)
    _check_labels(description.labels, labels, folder)
    if description.adapter is None:
        raise InputError(f"The teacher in {folder} has no adapters: there is nothing to import.")
    return load_teacher(checkpoint, folder, objective), adapters_of(description.adapter)


def _check_labels(own: tuple[str, ...], wanted: tuple[str, ...], head: Path) -> None:
    unnamed = all(_UNNAMED.fullmatch(name) for name in own) and len(own) == len(wanted)
    if own == wanted or unnamed:
        return
    same = "Put data.labels in the head's order." if sorted(own) == sorted(wanted) else ""
    raise InputError(
        f"The head in {head} has the labels {list(own)}, but data.labels is {list(wanted)}. "
        f"{same or 'Give the names that the head was trained with, in its order.'}"
    )
