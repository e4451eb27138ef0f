"""Distil without the chain: a student, its teacher and unlabelled texts in, a closer student out.

The teacher's own answers take the place of labels, but they choose no weights. The student that is
closest to its teacher on held-out texts is kept. It may be the student that came in.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.checkpoints.compute import find_compute, place
from pipeline.checkpoints.context import ModelContext
from pipeline.checkpoints.pretrained import find_checkpoint
from pipeline.checkpoints.teachers import TeacherDescription, find_backbone, load_teacher
from pipeline.checkpoints.tokenizers import load_tokenizer
from pipeline.config import DistillConfig, ModelConfig
from pipeline.errors import InputError
from pipeline.facts.data import DataFacts
from pipeline.facts.training import StudentFacts
from pipeline.stages.distill import DistillSettings, distill
from pipeline.store.files import new_folder
from pipeline.store.stage import Stage
from pipeline.tasks.all_tasks import find_task
from pipeline.tasks.task import Task
from pipeline.texts.soft_targets import write_soft_targets
from pipeline.texts.tables import Split, Text, write_split
from pipeline.training.encoding import compute_outputs, encode

_HELD_OUT = 0.1
"""Part of the texts that judges the student."""
_FEWEST = 8
"""Texts without which none can be held out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Taught:
    """Texts with a teacher's outputs, and the labels read from them."""

    texts: Sequence[Text]
    outputs: np.ndarray
    labels: np.ndarray


def distill_alone(
    student: Path,
    teacher: Path,
    texts: Sequence[Text],
    out: Path,
    config: DistillConfig,
    *,
    backbone: str | None = None,
) -> StudentFacts:
    """Write the distilled student to the new folder ``out``, whole or not at all.

    Args:
        student: Folder of an absorbed student.
        teacher: Folder of its teacher.
        texts: Unlabelled texts or pairs; a tenth of them is held out.
        out: New folder of the student.
        config: How it is trained. The labels are the teacher's own, so ``alpha`` must be 1.
        backbone: The teacher's backbone; None takes the one that the teacher names.

    Raises:
        InputError: when ``out`` exists, there are too few texts, or the task's labels cannot be
            read from a teacher's answers.
    """
    texts = list(dict.fromkeys(texts))[: config.texts]
    if len(texts) < _FEWEST:
        raise InputError(
            f"distill needs at least {_FEWEST} different texts, found {len(texts)}. Give more "
            "texts."
        )
    if config.alpha != 1:
        raise InputError(f"distill has no labels: expected alpha = 1, found {config.alpha}.")
    with new_folder(out) as partial, tempfile.TemporaryDirectory(dir=out.parent) as scratch:
        description, checkpoint = find_backbone(teacher, backbone)
        context = ModelContext(
            backbone=checkpoint,
            task=find_task(description.task),
            max_length=description.max_length,
            seed=0,
            compute=find_compute(),
        )
        start = find_checkpoint(ModelConfig(model=str(student)))
        _write_targets(_teach(texts, teacher, description, context), Path(scratch))
        return distill(
            _stage("data", Path(scratch), _data_facts(description)),
            None,
            _stage("finetune", teacher),
            _stage("soft-targets", Path(scratch)),
            _stage("absorb", start.folder, digest=start.digest),
            DistillSettings(context=context, distill=config, layers=None),
            partial,
        )


def _teach(
    texts: Sequence[Text], teacher: Path, description: TeacherDescription, context: ModelContext
) -> _Taught:
    """Return the teacher's outputs on texts, and labels read from its answers."""
    task = context.task
    if task.is_ragged:
        raise _no_labels(task)
    model = place(load_teacher(context.backbone, teacher), context.compute)
    tokenizer = load_tokenizer(context.backbone, max_length=context.max_length)
    examples = encode(tokenizer, texts, max_length=context.max_length)
    outputs = compute_outputs(model, task.objective(), tokenizer, examples, title="soft targets")
    answers = task.answers(task.readings(outputs, None), description.labels, texts)
    labels = [_label_of(answer, description.labels, task) for answer in answers]
    return _Taught(texts=texts, outputs=outputs, labels=np.array(labels, dtype=task.labels.dtype))


# Any: an answer is whatever its task's schema says.
def _label_of(answer: Mapping[str, Any], names: Sequence[str], task: Task) -> Any:
    """Return a teacher's answer as a label of the data."""
    if "label" in answer:
        return names.index(answer["label"])
    if "labels" in answer:
        return [int(name in answer["labels"]) for name in names]
    if "value" in answer:
        return answer["value"]
    raise _no_labels(task)


def _no_labels(task: Task) -> InputError:
    return InputError(
        f"A student for {task.name} is distilled on labelled data only: expected a classification, "
        "multi-label or regression teacher. Use `adapter-distill run` with a config."
    )


def _write_targets(taught: _Taught, folder: Path) -> None:
    """Write splits and soft targets as the stages do; a tenth of the texts validates."""
    order = np.random.default_rng(0).permutation(len(taught.texts))
    size = max(2, round(_HELD_OUT * len(order)))
    for name, rows in (("validation", order[:size]), ("train", order[size:])):
        chosen = tuple(taught.texts[row] for row in rows)
        write_split(Split(texts=chosen, labels=taught.labels[rows]), folder / f"{name}.parquet")
    write_soft_targets(taught.texts, taught.outputs, folder)


def _data_facts(description: TeacherDescription) -> DataFacts:
    """Return the facts of unlabelled texts, of which `distill` reads the labels' names alone."""
    return DataFacts(
        digest="",
        texts_digest="",
        labels=description.labels,
        text_columns=(),
        sizes={},
        label_counts={},
        dropped_duplicates=0,
        conflicting_labels=0,
        dropped_empty=0,
    )


# Any: `distill` reads facts of the data alone.
def _stage(name: str, folder: Path, facts: Any = None, digest: str = "") -> Stage[Any]:
    """Return a folder as the finished stage that `distill` takes."""
    return Stage(
        name=name,
        folder=folder,
        digest=digest,
        facts=facts,
        artifacts=(),
        seconds=0.0,
        reused=False,
    )
