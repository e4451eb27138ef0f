"""A training before it begins: the model, its examples, and what it is to reach."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from models.losses import Objective
from models.next_tokens import loss_by_chunks, read_hidden, word_head
from models.units import Units
from pipeline.training.encoding import Example

Loss = Callable[[Tensor, Tensor], Tensor]
"""(outputs, labels) -> one value per example, or several."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingSetup:
    """A model before its training, and its examples."""

    model: PreTrainedModel
    """Its dropout is the caller's choice."""
    tokenizer: PreTrainedTokenizerBase
    objective: Objective
    training: Sequence[Example]
    """Token ids, masks and ``labels`` of each example, in the label's unit."""
    validation: Sequence[Example]
    read: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]] | None = None
    """(outputs and labels of all validation rows) -> those of its texts, as metrics take them;
    None where they are the same."""
    units: Units | None = None
    """Standard units that the head trains in; None where its outputs have no unit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Goal:
    """What a training minimises, and what it is judged by."""

    loss: Loss
    """The mean over the step's items is minimised, in standard units where there are some."""
    metrics: Callable[[np.ndarray, np.ndarray], dict[str, float]]
    """(outputs, labels) of the whole validation split, in the label's unit -> named values."""
    best: str
    """The metric that decides which weights are kept and when to stop."""
    greater_is_better: bool
    count: Callable[[Tensor], Tensor] | None = None
    """(labels of a batch) -> items that each column of the loss is a sum over; None where each
    example is one. The loss is divided by those of the whole step."""


def in_standard_units(setup: TrainingSetup, goal: Goal) -> tuple[TrainingSetup, Goal]:
    """Return the setup with standardised labels, and the goal with metrics of the label's unit."""
    units = setup.units
    if units is None:
        return setup, goal

    def standardised(examples: Sequence[Example]) -> list[Example]:
        return [
            {**each, "labels": units.standardise(np.asarray(each["labels"], np.float64)).tolist()}
            for each in examples
        ]

    def metrics(outputs: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        return goal.metrics(units.restore(outputs), units.restore(labels))

    training, validation = standardised(setup.training), standardised(setup.validation)
    return replace(setup, training=training, validation=validation), replace(goal, metrics=metrics)


def of_hidden(
    setup: TrainingSetup, goal: Goal
) -> tuple[Goal, Callable[[Tensor, Tensor], Tensor] | None]:
    """Return a goal whose loss is of hidden states, and what reads these, where outputs are read.

    Else the goal as it is, and None.
    """
    if not setup.objective.is_read:
        return goal, None
    head = word_head(setup.model)
    return replace(goal, loss=loss_by_chunks(goal.loss, head)), partial(read_hidden, head=head)
