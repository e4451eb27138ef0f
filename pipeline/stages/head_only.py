"""Stage head_only: the baseline, a frozen backbone with nothing but a trained head.

The backbone never changes, so each text goes through it once; the head then trains on what came
out. That head is also where the teacher's starts (Kumar et al., 2022,
https://arxiv.org/abs/2202.10054: probe first, then fine-tune).

Shapes: N = texts, B = batch, D = hidden size, C = classes.
"""

import copy
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from tqdm.auto import tqdm
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    get_linear_schedule_with_warmup,
)

from models.architectures.architecture import Architecture
from models.losses import Objective
from models.teacher import backbone_digest, freeze_backbone
from pipeline.checkpoints.pretrained import (
    Checkpoint,
    find_architecture,
    load_classifier,
    load_tokenizer,
)
from pipeline.checkpoints.teachers import describe_teacher, save_teacher
from pipeline.config import HeadOnlyConfig
from pipeline.facts.data import DataFacts
from pipeline.facts.training import Point, TeacherFacts, TrainingOutcome
from pipeline.store.stage import Stage
from pipeline.tasks.task import Task
from pipeline.texts.tables import Split, read_split
from pipeline.training.encoding import batches_by_length, encode

_WARMUP = 0.1
"""Part of the steps over which the learning rate rises."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Features:
    """What the frozen backbone makes of a split."""

    hidden: Tensor  # (N, D), the first token's last hidden state
    labels: Tensor  # (N,)


def head_only(
    data: Stage[DataFacts],
    checkpoint: Checkpoint,
    config: HeadOnlyConfig,
    out: Path,
    *,
    task: Task,
    objective: Objective,
    max_length: int,
    seed: int,
) -> TeacherFacts:
    """Train the head alone and write it to ``out``, as a teacher without adapters.

    Args:
        data: The splits.
        checkpoint: The backbone.
        max_length: Longest input, in tokens.

    Raises:
        InputError: for an unreadable model or an unknown architecture.
    """
    tokenizer = load_tokenizer(checkpoint, max_length=max_length)
    model = load_classifier(checkpoint, objective, labels=data.facts.labels, seed=seed)
    architecture = find_architecture(model)
    freeze_backbone(model)
    digest = backbone_digest(model)
    training, validation = (
        _features(model, architecture, tokenizer, split, max_length)
        for split in (
            read_split(data.folder, "train").head(config.texts),
            read_split(data.folder, "validation"),
        )
    )
    outcome = _train(model, architecture, training, validation, config, task, objective, seed)
    save_teacher(
        model,
        out,
        checkpoint=checkpoint,
        labels=data.facts.labels,
        adapter=None,
        max_length=max_length,
    )
    return describe_teacher(model, adapter=None, digest=digest, warnings=(), outcome=outcome)


@torch.no_grad()
def _features(
    model: PreTrainedModel,
    architecture: Architecture,
    tokenizer: PreTrainedTokenizerBase,
    split: Split,
    max_length: int,
) -> _Features:
    """Run the frozen backbone once over a split."""
    examples = encode(tokenizer, split.texts, max_length=max_length)
    hidden = torch.zeros(len(split), model.config.hidden_size)
    with tqdm(total=len(split), desc="features", unit="text", leave=False, disable=None) as bar:
        for rows, batch in batches_by_length(tokenizer, examples, batch_size=32):
            states = model.base_model(**batch.to(model.device)).last_hidden_state
            looked_at = architecture.pooling(model, states, batch)[:, 0]
            hidden[torch.from_numpy(rows)] = looked_at.float().cpu()
            bar.update(len(rows))
    return _Features(hidden=hidden, labels=torch.tensor(split.labels))


def _train(
    model: PreTrainedModel,
    architecture: Architecture,
    training: _Features,
    validation: _Features,
    config: HeadOnlyConfig,
    task: Task,
    objective: Objective,
    seed: int,
) -> TrainingOutcome:
    """Train the head, in place, and leave the weights of the best validated epoch in it."""
    head = {name: p for name, p in model.named_parameters() if p.requires_grad}
    optimizer = torch.optim.AdamW(
        head.values(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    steps = config.epochs * math.ceil(len(training.labels) / config.batch_size)
    schedule = get_linear_schedule_with_warmup(optimizer, round(_WARMUP * steps), steps)
    order = torch.Generator().manual_seed(seed)
    curve: list[Point] = []
    best, best_step, step = -math.inf, 0, 0
    kept = copy.deepcopy(head)
    for _ in tqdm(range(config.epochs), desc="head only", unit="epoch", leave=False, disable=None):
        total = 0.0
        for rows in torch.randperm(len(training.labels), generator=order).split(config.batch_size):
            logits = architecture.head(model, training.hidden[rows, None])  # (B, C)
            loss = objective.hard(logits, training.labels[rows]).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(rows)
            step += 1
        with torch.no_grad():
            logits = architecture.head(model, validation.hidden[:, None])  # (N, C)
        measured = task.metrics(logits.numpy(), validation.labels.numpy())
        curve.append(
            Point(
                step=step,
                train_loss=total / len(training.labels),
                learning_rate=schedule.get_last_lr()[0],
                validation=measured,
            )
        )
        if measured[task.main_metric] > best:
            best, best_step = measured[task.main_metric], step
            kept = copy.deepcopy(head)
    with torch.no_grad():
        for name, parameter in head.items():
            parameter.copy_(kept[name])
    return TrainingOutcome(
        steps=step, best_step=best_step, best_metric=best, precision="fp32", curve=tuple(curve)
    )
