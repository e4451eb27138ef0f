"""Stage import: existing adapters become the teacher, in place of finetune."""

import re
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedModel

from models.teacher import backbone_digest, freeze_backbone
from pipeline.checkpoints.adapter_folders import head_labels, head_tasks, holds_teacher
from pipeline.checkpoints.adapter_setup import attach_setup, find_setup
from pipeline.checkpoints.compute import place
from pipeline.checkpoints.context import ModelContext
from pipeline.checkpoints.pretrained import find_adapter_folder
from pipeline.checkpoints.teachers import (
    AdapterSet,
    adapters_of,
    check_backbone_of,
    describe_teacher,
    drop_lower_adapters,
    load_teacher,
    read_teacher,
    save_teacher,
)
from pipeline.checkpoints.tokenizers import load_tokenizer
from pipeline.config import AdapterSource
from pipeline.errors import InputError
from pipeline.facts.data import DataFacts
from pipeline.facts.training import Point, TeacherFacts, TrainingOutcome
from pipeline.store.stage import Stage
from pipeline.texts.tables import read_split
from pipeline.training.encoding import compute_outputs
from pipeline.training.rows import make_rows

_UNNAMED = re.compile(r"LABEL_\d+")
"""Name that transformers gives to a label without a name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportSettings:
    """Settings that shape an imported teacher, beside the data."""

    context: ModelContext
    source: AdapterSource
    files: str
    """Digest of the adapters' files."""


def import_teacher(data: Stage[DataFacts], settings: ImportSettings, out: Path) -> TeacherFacts:
    """Write the imported teacher to ``out``, without any training.

    Args:
        data: Splits, of which the validation split measures the teacher.
        settings: Source of the adapters, and backbone.
        out: Folder for the teacher.

    Raises:
        InputError: when the checkpoints are not sound, or the head's labels differ from the data's.
    """
    context, source, labels = settings.context, settings.source, data.facts.labels
    task, objective = context.task, context.task.objective()
    model, adapters = _bring(source, context, labels)
    adapters = drop_lower_adapters(model, adapters, source.drop_layers)
    freeze_backbone(place(model, context.compute))
    tokenizer = load_tokenizer(context.backbone, max_length=context.max_length)
    validation = read_split(data.folder, "validation")
    rows = make_rows(tokenizer, validation.texts, task, max_length=context.max_length)
    outputs = rows.read(compute_outputs(model, objective, tokenizer, rows.examples))
    metrics = task.validate(outputs, task.truth(validation.texts, validation.labels))
    save_teacher(model, out, context=context, labels=labels, adapter=adapters)
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
    source: AdapterSource, context: ModelContext, labels: tuple[str, ...]
) -> tuple[PreTrainedModel, AdapterSet]:
    """Return a model with the adapters, which are active, and their head."""
    folders = [find_adapter_folder(reference) for reference in source.references]
    if len(folders) == 1 and holds_teacher(folders[0]):
        return _take_over(folders[0], context, labels)
    if source.together == "fuse" or source.together == "weigh":
        raise TypeError(f"a composition that is trained, {source.together!r}, is not imported")
    setup = find_setup(
        folders,
        names=source.names,
        fusion=None if source.fusion is None else find_adapter_folder(source.fusion),
        together=source.together,
        labels=labels,
        needs_head=not context.task.continues,
    )
    if setup.head is not None:
        _check_head(setup.head, context, labels)
    return attach_setup(setup, context.backbone, context.task.objective(), labels=labels)


def _check_head(head: Path, context: ModelContext, labels: tuple[str, ...]) -> None:
    """Refuse a head whose task or labels differ from the run's."""
    tasks = [task.name for task in head_tasks(head)]
    if context.task.name not in tasks:
        raise InputError(
            f"The head in {head} is for {' or '.join(tasks)}, and this run's task is "
            f"{context.task.name}. Give an adapter with a head of this task, or set task."
        )
    _check_labels(head_labels(head), labels, head)


def _take_over(
    folder: Path, context: ModelContext, labels: tuple[str, ...]
) -> tuple[PreTrainedModel, AdapterSet]:
    """Return the teacher of an earlier run, with any composition of adapters."""
    description = read_teacher(folder)
    check_backbone_of(folder, description, context.backbone)
    if description.task != context.task.name:
        raise InputError(
            f"The teacher in {folder} was trained for {description.task}, and this run's task is "
            f"{context.task.name}. Give a teacher of this task."
        )
    _check_labels(description.labels, labels, folder)
    if description.adapter is None:
        raise InputError(f"The teacher in {folder} has no adapters: there is nothing to import.")
    return load_teacher(context.backbone, folder), adapters_of(description.adapter)


def _check_labels(own: tuple[str, ...], wanted: tuple[str, ...], head: Path) -> None:
    unnamed = all(_UNNAMED.fullmatch(name) for name in own) and len(own) == len(wanted)
    if own == wanted or unnamed:
        return
    same = "Put data.labels in the head's order." if sorted(own) == sorted(wanted) else ""
    raise InputError(
        f"The head in {head} has the labels {list(own)}, but data.labels is {list(wanted)}. "
        f"{same or 'Give the names that the head was trained with, in its order.'}"
    )
