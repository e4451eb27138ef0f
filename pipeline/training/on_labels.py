"""Training on labels: where it begins, and how; adapters, LoRA and the whole model alike.

Everything starts at the baseline's head, on the same texts, and is judged by the same metric: what
differs between two trainings is what trains.
"""

from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from models.losses import Objective
from models.student import set_dropout, take_head
from pipeline.checkpoints.pretrained import Checkpoint, load_classifier, load_tokenizer
from pipeline.checkpoints.teachers import TEACHER_TENSORS
from pipeline.config import TrainingConfig
from pipeline.facts.data import DataFacts
from pipeline.facts.training import TeacherFacts, TrainingOutcome
from pipeline.store.stage import Stage
from pipeline.store.store import SCRATCH
from pipeline.tasks.task import Task
from pipeline.texts.tables import read_split
from pipeline.training.encoding import Example, encode_labelled
from pipeline.training.trainer import Loss, train


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """A classifier before its training, and the examples of it."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    training: list[Example]
    validation: list[Example]


def prepare_training(
    data: Stage[DataFacts],
    checkpoint: Checkpoint,
    config: TrainingConfig,
    *,
    objective: Objective,
    head_from: Stage[TeacherFacts],
    max_length: int,
    seed: int,
) -> Start:
    """Return the backbone with the baseline's head, and both splits, encoded.

    Raises:
        InputError: for an unreadable model.
    """
    tokenizer = load_tokenizer(checkpoint, max_length=max_length)
    training, validation = (
        encode_labelled(tokenizer, read_split(data.folder, name), max_length=max_length)
        for name in ("train", "validation")
    )
    model = load_classifier(checkpoint, objective, labels=data.facts.labels, seed=seed)
    take_head(model, load_file(head_from.folder / TEACHER_TENSORS))
    if config.dropout is not None:
        set_dropout(model, config.dropout)
    return Start(model=model, tokenizer=tokenizer, training=training, validation=validation)


def train_on_labels(
    start: Start,
    config: TrainingConfig,
    out: Path,
    *,
    task: Task,
    loss: Loss,
    seed: int,
    title: str,
) -> TrainingOutcome:
    """Train what requires gradients, in place; checkpoints lie in ``out`` meanwhile.

    Raises:
        InputError: for a loss that is not finite.
    """
    return train(
        start.model,
        start.tokenizer,
        training=start.training,
        validation=start.validation,
        loss=loss,
        metrics=task.metrics,
        best=task.main_metric,
        greater_is_better=True,
        config=config,
        scratch=out / SCRATCH,
        seed=seed,
        title=title,
    )
