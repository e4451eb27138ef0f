"""Setup and goal of a training: the model, its examples, its loss and its metrics."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from models.losses import Objective
from models.next_tokens import loss_by_chunks, read_hidden, word_head
from models.on_demand import OnDemand
from models.units import Units
from pipeline.training.encoding import Example

Loss = Callable[[Tensor, Tensor], Tensor]
"""Loss function: (outputs, labels) -> one value per example, or several."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingSetup:
    """A model before its training, and its examples."""

    model: PreTrainedModel
    """Model to train. The caller chooses its dropout."""
    tokenizer: PreTrainedTokenizerBase
    objective: Objective
    training: Sequence[Example]
    """Token ids, masks and ``labels`` of each example, in the label's unit."""
    validation: Sequence[Example]
    read: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]] | None = None
    """Reader: (outputs and labels of all validation rows) -> outputs and labels of the texts, for
    the metrics. None where rows are texts."""
    units: Units | None = None
    """Standard units in which the head trains; None where its outputs have no unit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Goal:
    """Loss that a training minimises, and metrics that judge it."""

    loss: Loss
    """Loss per example, in standard units if the setup has them. Training minimises its mean over
    the step's items."""
    metrics: Callable[[np.ndarray, np.ndarray], dict[str, float]]
    """Metrics: (outputs, labels) of the whole validation split, in the label's unit -> named
    values."""
    best: str
    """Name of the metric that selects the weights to keep and the time to stop."""
    greater_is_better: bool
    count: Callable[[Tensor], Tensor] | None = None
    """Number of items: (labels of a batch) -> items that each column of the loss sums over. The
    loss is divided by the items of the whole step. None where each example is one item."""


def in_standard_units(setup: TrainingSetup, goal: Goal) -> tuple[TrainingSetup, Goal]:
    """Return the setup with standardised labels, and the goal with metrics of the label's unit."""
    units = setup.units
    if units is None:
        return setup, goal

    def standardised(examples: Sequence[Example]) -> Sequence[Example]:
        def example(number: int) -> Example:
            own = examples[number]
            labels = units.standardise(np.asarray(own["labels"], np.float64)).tolist()
            return {**own, "labels": labels}

        return OnDemand(example, range(len(examples)))

    def metrics(outputs: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        return goal.metrics(units.restore(outputs), units.restore(labels))

    training, validation = standardised(setup.training), standardised(setup.validation)
    return replace(setup, training=training, validation=validation), replace(goal, metrics=metrics)


def of_hidden(
    setup: TrainingSetup, goal: Goal
) -> tuple[Goal, Callable[[Tensor, Tensor], Tensor] | None]:
    """Return a goal with a loss of hidden states, and their reader, if the task reads outputs.

    For other tasks, return the unchanged goal and None.
    """
    if not setup.objective.is_read:
        return goal, None
    head = word_head(setup.model)
    return replace(goal, loss=loss_by_chunks(goal.loss, head)), partial(read_hidden, head=head)
