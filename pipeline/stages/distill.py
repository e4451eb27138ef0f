"""Stage distill: the student learns the teacher's outputs, and keeps the change only if it helped.

The student minimises ``alpha * soft + (1 - alpha) * hard``, with the task's losses on the teacher's
outputs and on the labels (Hinton et al., 2015, https://arxiv.org/abs/1503.02531). It starts from
the absorbed adapters, from the plain backbone or some of its layers, or from a different model. The
weights closest to the teacher on the validation split are kept, or those with the best metric. The
start is one of the candidates.
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from models.architectures.table import architecture_of
from models.losses import Objective, distillation_loss
from models.processes import is_first, own_number
from models.student import adapter_traces, keep_layers, set_dropout, take_head
from models.units import Units, to_label_unit, units_of
from pipeline.checkpoints.compute import place
from pipeline.checkpoints.context import ModelContext
from pipeline.checkpoints.pretrained import Checkpoint, find_architecture
from pipeline.checkpoints.teachers import TEACHER_TENSORS
from pipeline.checkpoints.tokenizers import load_tokenizer, save_tokenizer
from pipeline.checkpoints.weights import holds_head, load_model
from pipeline.config import DistillConfig
from pipeline.errors import InputError
from pipeline.facts.absorption import AbsorbFacts
from pipeline.facts.data import DataFacts, UnlabelledFacts
from pipeline.facts.quality import Metrics
from pipeline.facts.training import SoftTargetFacts, StudentFacts, TeacherFacts, TrainingOutcome
from pipeline.store.stage import Stage
from pipeline.store.store import SCRATCH
from pipeline.tasks.task import Task
from pipeline.texts.soft_targets import SoftTargets
from pipeline.texts.tables import Split, read_split
from pipeline.texts.unlabelled import empty_labels, read_unlabelled
from pipeline.training.encoding import Example, compute_outputs
from pipeline.training.goal import Goal, TrainingSetup
from pipeline.training.ranks import in_processes
from pipeline.training.rows import Rows, label_rows, make_rows, read_targets, row_parts
from pipeline.training.stored_examples import store_examples
from pipeline.training.trainer import train


@dataclass(frozen=True, kw_only=True, slots=True)
class DistillSettings:
    """Settings that shape a student, beside the stages it is made from."""

    context: ModelContext
    """Context of the student, with its own pretrained model as backbone."""
    distill: DistillConfig
    layers: tuple[int, ...] | None
    """Layers of the pretrained model to keep; None keeps all."""


@in_processes
def distill(
    data: Stage[DataFacts],
    unlabelled: Stage[UnlabelledFacts] | None,
    teacher: Stage[TeacherFacts],
    targets: Stage[SoftTargetFacts],
    absorbed: Stage[AbsorbFacts] | None,
    settings: DistillSettings,
    out: Path,
) -> StudentFacts:
    """Write the student to ``out`` as ``from_pretrained`` reads it, tokenizer included.

    Args:
        data: Splits to train and validate on.
        unlabelled: Texts after the training texts, for a loss that needs no labels.
        teacher: Teacher, whose head is the student's start where it fits.
        targets: Outputs of the teacher on the training, unlabelled and validation texts.
        absorbed: Start of the student with its head and layers; None starts from the pretrained
            model.
        settings: Student, losses and settings of the training.
        out: Folder for the student.

    Raises:
        InputError: for a layer that the backbone does not have, an unreadable model, or a loss
            that is not finite.
    """
    context, config = settings.context, settings.distill
    student = place(_start(data, teacher, absorbed, settings), context.compute)
    scratch = out / SCRATCH
    setup, validation = _prepare(student, data, unlabelled, targets, settings, scratch=scratch)
    goal = _goal(setup.objective, validation, settings)
    best = goal.best
    outputs = compute_outputs(
        student,
        setup.objective,
        setup.tokenizer,
        setup.validation,
        teacher=validation.rows.spread(validation.teacher),
    )
    at_start = _measure(validation, context.task, outputs, outputs)
    start_weights = copy.deepcopy(student.state_dict())
    if config.dropout is not None:
        set_dropout(student, config.dropout)
    outcome = train(setup, goal, config, scratch=scratch, context=context, title="distilling")
    gain = outcome.best_metric - at_start[best]
    helped = gain > 0 if goal.greater_is_better else gain < 0
    if not helped:
        student.load_state_dict(start_weights)
    if traces := adapter_traces(student):
        raise RuntimeError(f"The student carries traces of adapters: {traces}. Nothing was saved.")
    if is_first():
        student.save_pretrained(out)
        save_tokenizer(setup.tokenizer, out)
    return StudentFacts(
        start="absorbed" if absorbed else "pretrained",
        kept="trained" if helped else "start",
        total_parameters=student.num_parameters(),
        start_validation=at_start,
        validation=_at_best(outcome) if helped else at_start,
        outcome=outcome,
    )


def _start(
    data: Stage[DataFacts],
    teacher: Stage[TeacherFacts],
    absorbed: Stage[AbsorbFacts] | None,
    settings: DistillSettings,
) -> PreTrainedModel:
    """Return the student before any gradient step."""
    context, layers = settings.context, settings.layers
    objective, labels = context.task.objective(), data.facts.labels
    if absorbed is not None:
        start = Checkpoint(folder=absorbed.folder, digest=absorbed.digest)
        return load_model(start, objective, labels=labels, seed=context.seed)
    student = load_model(context.backbone, objective, labels=labels, seed=context.seed)
    if layers is not None:
        try:
            keep_layers(student, architecture_of(student.config.model_type), layers)
        except ValueError as error:
            raise InputError(str(error)) from error
    if not take_head(student, load_file(teacher.folder / TEACHER_TENSORS)):
        _bring_to_label_unit(student, data, settings)
    return student


def _bring_to_label_unit(
    student: PreTrainedModel, data: Stage[DataFacts], settings: DistillSettings
) -> None:
    """Scale a new head to the labels' unit, in place, as trained heads are."""
    context, objective = settings.context, settings.context.task.objective()
    head = objective.head(find_architecture(student))
    if objective.standardised and not holds_head(context.backbone, student, head):
        labels = read_split(data.folder, "train").head(settings.distill.texts).labels
        to_label_unit(student, head, units_of(labels, student, head))


def _prepare(
    student: PreTrainedModel,
    data: Stage[DataFacts],
    unlabelled: Stage[UnlabelledFacts] | None,
    targets: Stage[SoftTargetFacts],
    settings: DistillSettings,
    *,
    scratch: Path,
) -> "tuple[TrainingSetup, _Validation]":
    """Return the student with examples whose ``labels`` hold label and teacher's outputs.

    Also return the validation split that measures the student. Training examples are stored below
    ``scratch``.
    """
    context = settings.context
    task, objective = context.task, context.task.objective()
    tokenizer = load_tokenizer(context.backbone, max_length=context.max_length)
    labelled = read_split(data.folder, "train").head(settings.distill.texts)
    said = SoftTargets(targets.folder)
    training = store_examples(
        _packed_parts(tokenizer, labelled, unlabelled, said, settings),
        scratch / f"examples-{own_number()}.arrow",
    )
    split = read_split(data.folder, "validation")
    rows = make_rows(tokenizer, split.texts, task, max_length=context.max_length)
    wanted = read_targets(said, rows)
    units: Units | None = None
    if objective.standardised:
        units = units_of(labelled.labels, student, objective.head(find_architecture(student)))
    setup = TrainingSetup(
        model=student,
        tokenizer=tokenizer,
        objective=objective,
        training=training,
        validation=label_rows(rows, split.labels, task, targets=wanted).examples,
        units=units,
    )
    return setup, _Validation(
        rows=rows, truth=task.truth(split.texts, split.labels), teacher=rows.read(wanted)
    )


def _packed_parts(
    tokenizer: PreTrainedTokenizerBase,
    labelled: Split,
    unlabelled: Stage[UnlabelledFacts] | None,
    targets: SoftTargets,
    settings: DistillSettings,
) -> Iterator[list[Example]]:
    """Yield training examples in parts, then unlabelled ones if the loss needs no labels."""
    task, most = settings.context.task, settings.distill.texts
    parts = partial(
        row_parts, tokenizer, task=task, max_length=settings.context.max_length, title="tokenising"
    )
    start = 0
    for rows in parts(labelled.texts):
        labels = labelled.labels[start : start + len(rows.texts)]
        start += len(labels)
        yield label_rows(rows, labels, task, targets=read_targets(targets, rows)).examples
    if unlabelled is None or settings.distill.alpha != 1:
        return
    for rows in parts(read_unlabelled(unlabelled.folder, most and most - start)):
        labels = empty_labels(rows.texts, labelled.labels, per_word=task.has_word_labels)
        yield label_rows(rows, labels, task, targets=read_targets(targets, rows)).examples


@dataclass(frozen=True, kw_only=True, slots=True)
class _Validation:
    """Validation split that measures the student."""

    rows: Rows
    truth: np.ndarray
    """Labels of the split, as metrics take them."""
    teacher: np.ndarray
    """Outputs of the teacher on the split, (N, ...)."""


def _measure(
    validation: _Validation, task: Task, outputs: np.ndarray, _labels: np.ndarray
) -> Metrics:
    """Return closeness to the teacher and quality, from the student's outputs on all rows."""
    return task.compare(validation.rows.read(outputs), validation.teacher, validation.truth)


def _goal(objective: Objective, validation: _Validation, settings: DistillSettings) -> Goal:
    """Return the loss on packed labels, and the closeness or quality that judges it."""
    task, config = settings.context.task, settings.distill
    closest = config.keep == "closest"

    def loss(outputs: Tensor, packed: Tensor) -> Tensor:
        labels, wanted = task.unpack(packed)
        return distillation_loss(
            outputs,
            wanted,
            labels,
            objective=objective,
            temperature=config.temperature,
            alpha=config.alpha,
        )

    return Goal(
        loss=loss,
        metrics=partial(_measure, validation, task),
        best=task.distance if closest else task.main_metric,
        greater_is_better=not closest,
        count=None if objective.count is None else partial(_count, objective.count, task),
    )


def _count(count: Callable[[Tensor], Tensor], task: Task, packed: Tensor) -> Tensor:
    """Return the items of the soft and of the hard loss, (2,)."""
    labels, wanted = task.unpack(packed)
    return torch.stack([count(wanted), count(labels)])


def _at_best(outcome: TrainingOutcome) -> Metrics:
    """Return the validation metrics at the step whose weights were kept."""
    best = (point.validation for point in outcome.curve if point.step == outcome.best_step)
    return next(values for values in best if values is not None)
