"""Stage head_only: the baseline, which is a frozen backbone with a trained head.

The backbone never changes, so each text goes through it once. The head then trains on its outputs.
The teacher's head starts from this one, as in Kumar et al., 2022
(https://arxiv.org/abs/2202.10054), who probe first and then fine-tune.

Shapes: B = batch, P = tokens of an item that the head reads, C = outputs.
"""

import copy
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm
from transformers import PreTrainedModel, get_linear_schedule_with_warmup

from models.architectures.heads import Head
from models.teacher import backbone_digest, freeze_backbone
from models.units import Units, to_label_unit, to_standard_units, units_of
from pipeline.checkpoints.compute import place
from pipeline.checkpoints.context import ModelContext
from pipeline.checkpoints.pretrained import find_architecture
from pipeline.checkpoints.teachers import describe_teacher, save_teacher
from pipeline.checkpoints.tokenizers import load_tokenizer
from pipeline.checkpoints.weights import drawn_parameters, holds_head, load_model
from pipeline.config import HeadOnlyConfig
from pipeline.facts.compute import Compute
from pipeline.facts.data import DataFacts
from pipeline.facts.quality import Metrics
from pipeline.facts.training import Point, TeacherFacts, TrainingOutcome
from pipeline.store.stage import Stage
from pipeline.texts.splits import SPLITS
from pipeline.texts.tables import Split, read_split
from pipeline.training.encoding import compute_outputs
from pipeline.training.features import Features, frozen_features
from pipeline.training.rows import make_rows
from pipeline.training.small_work import threads_for
from pipeline.training.truncation import measure_truncation
from pipeline.workers.bars import hides_bars

logger = logging.getLogger(__name__)

_WARMUP = 0.1
"""Share of the steps over which the learning rate rises."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HeadOnlySettings:
    """Settings that shape the baseline, beside the data."""

    context: ModelContext
    training: HeadOnlyConfig


def head_only(data: Stage[DataFacts], settings: HeadOnlySettings, out: Path) -> TeacherFacts:
    """Train the head alone and write it to ``out``, as a teacher without adapters.

    A language model's head is a part of its backbone, so it stays unchanged.

    Raises:
        InputError: for an unreadable model or an unknown architecture.
    """
    context = settings.context
    labels = data.facts.labels
    model = load_model(context.backbone, context.task.objective(), labels=labels, seed=context.seed)
    place(model, context.compute)
    freeze_backbone(model)
    digest = backbone_digest(model)
    splits = {name: read_split(data.folder, name) for name in SPLITS}
    tokenizer = load_tokenizer(context.backbone, max_length=context.max_length)
    truncation = measure_truncation(tokenizer, splits, context)
    outcome = (
        _measure_plain(model, splits["validation"], context)
        if context.task.continues
        else _train_head(model, splits, settings)
    )
    save_teacher(model, out, context=context, labels=labels, adapter=None)
    facts = describe_teacher(model, adapter=None, digest=digest, warnings=(), outcome=outcome)
    return replace(facts, truncation=truncation)


def _train_head(
    model: PreTrainedModel, splits: Mapping[str, Split], settings: HeadOnlySettings
) -> TrainingOutcome:
    """Train a model's head, in place."""
    context = settings.context
    _say_head(model, context)
    training = frozen_features(model, splits["train"].head(settings.training.texts), context)
    validation = frozen_features(model, splits["validation"], context)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    with threads_for(trained * settings.training.batch_size):
        return _train(model, training, validation, settings)


def _measure_plain(
    model: PreTrainedModel, validation: Split, context: ModelContext
) -> TrainingOutcome:
    """Return the metrics of a language model's backbone, which includes its head."""
    tokenizer = load_tokenizer(context.backbone, max_length=context.max_length)
    rows = make_rows(tokenizer, validation.texts, context.task, max_length=context.max_length)
    objective = context.task.objective()
    outputs = rows.read(
        compute_outputs(model, objective, tokenizer, rows.examples, title="plain backbone")
    )
    metrics = context.task.validate(outputs, validation.labels)
    return TrainingOutcome(
        steps=0,
        best_step=0,
        best_metric=metrics[context.task.main_metric],
        precision="fp32",
        curve=(Point(step=0, validation=metrics),),
    )


def _say_head(model: PreTrainedModel, context: ModelContext) -> None:
    """Log the head's parameters that the checkpoint lacks."""
    if drawn := drawn_parameters(context.backbone, model):
        logger.info("the head is new: %s drawn with seed %d", ", ".join(drawn), context.seed)


def _train(
    model: PreTrainedModel,
    training: Features,
    validation: Features,
    settings: HeadOnlySettings,
) -> TrainingOutcome:
    """Train the head, in place, and leave the weights of the best validated epoch in it."""
    context, config = settings.context, settings.training
    objective = context.task.objective()
    head = objective.head(find_architecture(model))
    units = (
        units_of(np.asarray(training.labels), model, head) if objective.standardised else Units()
    )
    if holds_head(context.backbone, model, head):
        to_standard_units(model, head, units)
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    optimizer = torch.optim.AdamW(
        trained.values(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    steps = config.epochs * math.ceil(len(training) / config.batch_size)
    schedule = get_linear_schedule_with_warmup(optimizer, round(_WARMUP * steps), steps)
    order = torch.Generator().manual_seed(context.seed)
    best = _Best(kept=copy.deepcopy(trained))

    def take_step(rows: Tensor) -> float:
        hidden, labels = (part.to(model.device) for part in training.batch(rows))
        outputs = head.apply(model, hidden)  # (B, C), or (B, P, C)
        loss = objective.hard(outputs, units.standardise(labels)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        return loss.item() * len(rows)

    epochs = range(1, config.epochs + 1)
    for epoch in tqdm(epochs, desc="head only", unit="epoch", leave=False, disable=hides_bars()):
        batches = torch.randperm(len(training), generator=order).split(config.batch_size)
        point = Point(
            step=epoch * len(batches),
            train_loss=sum(map(take_step, batches)) / len(training),
            learning_rate=schedule.get_last_lr()[0],
            validation=_measure(model, head, validation, units),
        )
        best.add(point, trained, context.task.main_metric)
    best.restore(trained)
    to_label_unit(model, head, units)
    return best.outcome(steps, context.compute)


@torch.no_grad()
def _measure(model: PreTrainedModel, head: Head, split: Features, units: Units) -> Metrics:
    def outputs(hidden: Tensor) -> Tensor:
        return head.apply(model, hidden.to(model.device)).cpu()

    if isinstance(split.hidden, Tensor):
        return split.measure(units.restore(outputs(split.hidden)).numpy())
    return split.measure([outputs(each[None])[0].numpy() for each in split.hidden])


@dataclass(slots=True)
class _Best:
    """Curve of a training so far, and the weights of its best point."""

    kept: Mapping[str, Tensor]
    metric: float = -math.inf
    step: int = 0
    curve: list[Point] = field(default_factory=list)

    def add(self, point: Point, weights: Mapping[str, Tensor], metric: str) -> None:
        """Add a point, and keep its weights if it is the best."""
        self.curve.append(point)
        if point.validation is not None and point.validation[metric] > self.metric:
            self.metric, self.step = point.validation[metric], point.step
            self.kept = copy.deepcopy(weights)

    @torch.no_grad()
    def restore(self, weights: Mapping[str, Tensor]) -> None:
        """Set weights to those of the best point, in place."""
        for name, parameter in weights.items():
            parameter.copy_(self.kept[name])

    def outcome(self, steps: int, compute: Compute) -> TrainingOutcome:
        """Return the record of a training of so many steps."""
        return TrainingOutcome(
            steps=steps,
            best_step=self.step,
            best_metric=self.metric,
            precision="fp32",
            why_precision="A head alone is trained in fp32.",
            device=str(compute),
            curve=tuple(self.curve),
        )
