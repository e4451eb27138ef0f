"""Stage head_only: the baseline, a frozen backbone with nothing but a trained head.

The backbone never changes, so each text goes through it once; the head then trains on what came
out. That head is also where the teacher's starts (Kumar et al., 2022,
https://arxiv.org/abs/2202.10054: probe first, then fine-tune).

Shapes: N = texts, or labelled words of all texts; B = batch, D = hidden size, C = outputs of each.
"""

import copy
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    get_linear_schedule_with_warmup,
)

from models.architectures.heads import Head
from models.teacher import backbone_digest, freeze_backbone
from models.units import Units, to_label_unit, to_standard_units, units_of
from pipeline.checkpoints.context import ModelContext
from pipeline.checkpoints.pretrained import find_architecture
from pipeline.checkpoints.teachers import describe_teacher, save_teacher
from pipeline.checkpoints.tokenizers import load_tokenizer
from pipeline.checkpoints.weights import drawn_parameters, holds_head, load_model
from pipeline.config import HeadOnlyConfig
from pipeline.facts.data import DataFacts
from pipeline.facts.quality import Metrics
from pipeline.facts.training import Point, TeacherFacts, TrainingOutcome
from pipeline.store.stage import Stage
from pipeline.tasks.words import pad_rows
from pipeline.texts.cells import MISSING_LABEL
from pipeline.texts.splits import SPLITS
from pipeline.texts.tables import Split, read_split
from pipeline.training.encoding import Example, batches_by_length, encode, word_positions
from pipeline.training.small_work import threads_for
from pipeline.training.truncation import measure_truncation
from pipeline.workers.bars import hides_bars

logger = logging.getLogger(__name__)

_WARMUP = 0.1
"""Part of the steps over which the learning rate rises."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HeadOnlySettings:
    """What shapes the baseline, beside the data."""

    context: ModelContext
    training: HeadOnlyConfig


def head_only(data: Stage[DataFacts], settings: HeadOnlySettings, out: Path) -> TeacherFacts:
    """Train the head alone and write it to ``out``, as a teacher without adapters.

    Raises:
        InputError: for an unreadable model or an unknown architecture.
    """
    context = settings.context
    labels = data.facts.labels
    model = load_model(context.backbone, context.task.objective(), labels=labels, seed=context.seed)
    _say_head(model, context)
    freeze_backbone(model)
    digest = backbone_digest(model)
    splits = {name: read_split(data.folder, name) for name in SPLITS}
    tokenizer = load_tokenizer(context.backbone, max_length=context.max_length)
    truncation = measure_truncation(tokenizer, splits, context)
    training = _features(model, splits["train"].head(settings.training.texts), context)
    validation = _features(model, splits["validation"], context)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    with threads_for(trained * settings.training.batch_size):
        outcome = _train(model, training, validation, settings)
    save_teacher(model, out, context=context, labels=labels, adapter=None)
    facts = describe_teacher(model, adapter=None, digest=digest, warnings=(), outcome=outcome)
    return replace(facts, truncation=truncation)


def _say_head(model: PreTrainedModel, context: ModelContext) -> None:
    """Log which of the head's parameters the checkpoint does not hold."""
    if drawn := drawn_parameters(context.backbone, model):
        logger.info("the head is new: %s drawn with seed %d", ", ".join(drawn), context.seed)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Features:
    """What the frozen backbone makes of a split."""

    hidden: Tensor  # (N, D), what the head reads of each text or word
    labels: Tensor  # (N,), or (N, L); of words (N, 1)
    words: tuple[int, ...] | None = None
    """Number of words of each text, where they are the rows."""


@torch.no_grad()
def _features(model: PreTrainedModel, split: Split, context: ModelContext) -> _Features:
    """Run the frozen backbone once over a split."""
    head = context.task.objective().head(find_architecture(model))
    tokenizer = load_tokenizer(context.backbone, max_length=context.max_length)
    examples = encode(tokenizer, split.texts, max_length=context.max_length)
    if context.task.per_word:
        return _word_features(model, split, examples, tokenizer, context)
    hidden = torch.zeros(len(split), model.config.hidden_size)
    with tqdm(
        total=len(split), desc="features", unit="text", leave=False, disable=hides_bars()
    ) as bar:
        for rows, batch in batches_by_length(tokenizer, examples, batch_size=32):
            states = model.base_model(**batch.to(model.device)).last_hidden_state
            hidden[torch.from_numpy(rows)] = head.pooling(model, states, batch)[:, 0].float().cpu()
            bar.update(len(rows))
    return _Features(hidden=hidden, labels=torch.tensor(split.labels))


def _word_features(
    model: PreTrainedModel,
    split: Split,
    examples: Sequence[Example],
    tokenizer: PreTrainedTokenizerBase,
    context: ModelContext,
) -> _Features:
    """Run the frozen backbone once over a split; a row is a word, at its first token."""
    head = context.task.objective().head(find_architecture(model))
    found: dict[int, Tensor] = {}
    labels: dict[int, Tensor] = {}
    positions = word_positions(tokenizer, split.texts, max_length=context.max_length)
    with tqdm(
        total=len(split), desc="features", unit="text", leave=False, disable=hides_bars()
    ) as bar:
        for rows, batch in batches_by_length(tokenizer, examples, batch_size=32):
            states = model.base_model(**batch.to(model.device)).last_hidden_state
            states = head.pooling(model, states, batch).float().cpu()  # (B, T, D)
            for number, row in enumerate(rows.tolist()):
                held = positions[row] >= 0
                found[row] = states[number, positions[row][held]]
                own = split.labels[row, : len(held)][held]
                labels[row] = torch.from_numpy(own.astype(np.int64))[:, None]
            bar.update(len(rows))
    order = range(len(split))
    return _Features(
        hidden=torch.cat([found[row] for row in order]),
        labels=torch.cat([labels[row] for row in order]),
        words=tuple(len(found[row]) for row in order),
    )


def _train(
    model: PreTrainedModel,
    training: _Features,
    validation: _Features,
    settings: HeadOnlySettings,
) -> TrainingOutcome:
    """Train the head, in place, and leave the weights of the best validated epoch in it."""
    context, config = settings.context, settings.training
    objective = context.task.objective()
    head = objective.head(find_architecture(model))
    units = units_of(training.labels.numpy(), model, head) if objective.standardised else Units()
    if holds_head(context.backbone, model, head):
        to_standard_units(model, head, units)
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    optimizer = torch.optim.AdamW(
        trained.values(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    steps = config.epochs * math.ceil(len(training.labels) / config.batch_size)
    schedule = get_linear_schedule_with_warmup(optimizer, round(_WARMUP * steps), steps)
    order = torch.Generator().manual_seed(context.seed)
    best = _Best(kept=copy.deepcopy(trained))

    def take_step(rows: Tensor) -> float:
        outputs = head.apply(model, training.hidden[rows, None])  # (B, C)
        loss = objective.hard(outputs, units.standardise(training.labels[rows])).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        return loss.item() * len(rows)

    epochs = range(1, config.epochs + 1)
    for epoch in tqdm(epochs, desc="head only", leave=False, disable=hides_bars()):
        batches = torch.randperm(len(training.labels), generator=order).split(config.batch_size)
        point = Point(
            step=epoch * len(batches),
            train_loss=sum(map(take_step, batches)) / len(training.labels),
            learning_rate=schedule.get_last_lr()[0],
            validation=_measure(model, head, validation, units, context),
        )
        best.add(point, trained, context.task.main_metric)
    best.restore(trained)
    to_label_unit(model, head, units)
    return best.outcome(steps)


@torch.no_grad()
def _measure(
    model: PreTrainedModel, head: Head, split: _Features, units: Units, context: ModelContext
) -> Metrics:
    outputs = units.restore(head.apply(model, split.hidden[:, None])).numpy()  # (N, C)
    labels = split.labels.numpy()
    if split.words is None:
        return context.task.validate(outputs, labels)
    ends = np.cumsum(split.words)[:-1]
    by_text = [np.split(each[:, 0], ends) for each in (outputs, labels)]
    return context.task.validate(pad_rows(by_text[0], np.nan), pad_rows(by_text[1], MISSING_LABEL))


@dataclass(slots=True)
class _Best:
    """The curve so far, and the weights of its best point."""

    kept: Mapping[str, Tensor]
    metric: float = -math.inf
    step: int = 0
    curve: list[Point] = field(default_factory=list)

    def add(self, point: Point, weights: Mapping[str, Tensor], metric: str) -> None:
        """Add a point; keep the weights where it is the best one."""
        self.curve.append(point)
        if point.validation is not None and point.validation[metric] > self.metric:
            self.metric, self.step = point.validation[metric], point.step
            self.kept = copy.deepcopy(weights)

    @torch.no_grad()
    def restore(self, weights: Mapping[str, Tensor]) -> None:
        """Set weights to those of the best point, in place."""
        for name, parameter in weights.items():
            parameter.copy_(self.kept[name])

    def outcome(self, steps: int) -> TrainingOutcome:
        """Return the record of a training of so many steps."""
        return TrainingOutcome(
            steps=steps,
            best_step=self.step,
            best_metric=self.metric,
            precision="fp32",
            curve=tuple(self.curve),
        )
