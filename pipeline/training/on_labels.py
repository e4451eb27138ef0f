"""Training on labels, in one way for adapters, LoRA and the whole model.

Every training starts at the baseline's head, on the same texts, and is judged by the same metric.
Two trainings differ only in their trainable parameters.
"""

from functools import partial
from pathlib import Path

import numpy as np
from safetensors.torch import load_file

from models.student import set_dropout, take_head
from models.units import Units, units_of
from pipeline.checkpoints.compute import place
from pipeline.checkpoints.context import ModelContext
from pipeline.checkpoints.pretrained import find_architecture
from pipeline.checkpoints.teachers import TEACHER_TENSORS
from pipeline.checkpoints.tokenizers import load_tokenizer
from pipeline.checkpoints.weights import load_model
from pipeline.config import TrainingConfig
from pipeline.facts.data import DataFacts
from pipeline.facts.quality import Metrics
from pipeline.facts.training import TeacherFacts, TrainingOutcome
from pipeline.store.stage import Stage
from pipeline.store.store import SCRATCH
from pipeline.tasks.task import Task
from pipeline.texts.tables import read_split
from pipeline.training.goal import Goal, Loss, TrainingSetup
from pipeline.training.rows import Rows, label_rows, make_rows
from pipeline.training.trainer import train


def prepare_training(
    data: Stage[DataFacts],
    head_from: Stage[TeacherFacts],
    context: ModelContext,
    config: TrainingConfig,
) -> TrainingSetup:
    """Return the backbone with the baseline's head, and both splits, encoded.

    Raises:
        InputError: for an unreadable model.
    """
    objective, max_length = context.task.objective(), context.max_length
    tokenizer = load_tokenizer(context.backbone, max_length=max_length)
    splits = [read_split(data.folder, name) for name in ("train", "validation")]
    training, validation = (
        label_rows(
            make_rows(tokenizer, split.texts, context.task, max_length=max_length),
            split.labels,
            context.task,
        )
        for split in splits
    )
    truth = context.task.truth(splits[1].texts, splits[1].labels)
    model = load_model(context.backbone, objective, labels=data.facts.labels, seed=context.seed)
    place(model, context.compute)
    take_head(model, load_file(head_from.folder / TEACHER_TENSORS))
    if config.dropout is not None:
        set_dropout(model, config.dropout)
    units: Units | None = None
    if objective.standardised:
        units = units_of(splits[0].labels, model, objective.head(find_architecture(model)))
    return TrainingSetup(
        model=model,
        tokenizer=tokenizer,
        objective=objective,
        training=training.examples,
        validation=validation.examples,
        read=None if validation.layout is None else partial(_read_texts, validation, truth),
        units=units,
    )


def train_on_labels(
    setup: TrainingSetup,
    config: TrainingConfig,
    out: Path,
    *,
    context: ModelContext,
    title: str,
    loss: Loss | None = None,
) -> TrainingOutcome:
    """Train all parameters that require gradients, in place, with checkpoints in ``out``.

    Args:
        setup: Model and examples.
        config: Settings of the training.
        out: Folder for checkpoints while the training runs.
        context: Task, seed and device.
        title: Text of the progress bar.
        loss: Loss to minimise; the task's own by default.

    Raises:
        InputError: for a loss that is not finite.
    """
    task = context.task
    goal = Goal(
        loss=loss or setup.objective.hard,
        count=setup.objective.count,
        metrics=partial(_measure, task, setup),
        best=task.main_metric,
        greater_is_better=True,
    )
    return train(setup, goal, config, scratch=out / SCRATCH, context=context, title=title)


def _read_texts(
    rows: Rows, truth: np.ndarray, outputs: np.ndarray, _labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    return rows.read(outputs), truth


def _measure(task: Task, setup: TrainingSetup, outputs: np.ndarray, labels: np.ndarray) -> Metrics:
    """Return the metrics of the validation texts, from the outputs and labels of their rows."""
    if setup.read is not None:
        outputs, labels = setup.read(outputs, labels)
    return task.validate(outputs, labels)
