"""Features of a split: a frozen backbone's outputs, on which a head trains.

The head's loss is a mean over items. An item is a text, a labelled token, or a window whose tokens
share a distribution.

Shapes: N = items, B = items of a batch, P = tokens of an item that the head reads, D = hidden size,
C = outputs of the head.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from tqdm.auto import tqdm
from transformers import PreTrainedModel

from pipeline.checkpoints.context import ModelContext
from pipeline.checkpoints.pretrained import find_architecture
from pipeline.checkpoints.tokenizers import load_tokenizer
from pipeline.facts.quality import Metrics
from pipeline.tasks.layout import Layout
from pipeline.tasks.task import Task
from pipeline.texts.cells import MISSING_LABEL
from pipeline.texts.tables import Split
from pipeline.training.encoding import batch_of, rows_by_length
from pipeline.training.memory import run_in_batches
from pipeline.training.rows import Rows, make_rows
from pipeline.workers.bars import hides_bars


@dataclass(frozen=True, kw_only=True, slots=True)
class Features:
    """Inputs and labels that a head trains on."""

    hidden: Tensor | Sequence[Tensor]
    """Hidden states, (N, P, D), or (P, D) per item where items differ in the number of tokens."""
    labels: Tensor | Sequence[Tensor]
    """Labels of the items, (N, ...), or (P,) per item."""
    measure: Callable[[Sequence[np.ndarray] | np.ndarray], Metrics]
    """Measurement: (outputs of all items) -> metrics of the split."""

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self.labels)

    def batch(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Return hidden states (B, P, D) and labels of some items; padding has the label -100."""
        if isinstance(self.hidden, Tensor) and isinstance(self.labels, Tensor):
            return self.hidden[numbers], self.labels[numbers]
        hidden = [self.hidden[number] for number in numbers.tolist()]
        labels = [self.labels[number] for number in numbers.tolist()]
        return (
            pad_sequence(hidden, batch_first=True),
            pad_sequence(labels, batch_first=True, padding_value=MISSING_LABEL),
        )


@torch.no_grad()
def frozen_features(model: PreTrainedModel, split: Split, context: ModelContext) -> Features:
    """Return the features of a split, from one pass through a model's backbone."""
    task = context.task
    head = task.objective().head(find_architecture(model))
    tokenizer = load_tokenizer(context.backbone, max_length=context.max_length)
    rows = make_rows(tokenizer, split.texts, task, max_length=context.max_length)
    found: dict[int, Tensor] = {}

    def run(numbers: np.ndarray) -> Tensor:
        batch = batch_of(tokenizer, rows.examples, numbers).to(model.device)
        states = model.base_model(**batch).last_hidden_state
        return head.pooling(model, states, batch).float().cpu()  # (B, P, D)

    with tqdm(
        total=len(rows.examples), desc="features", unit="row", leave=False, disable=hides_bars()
    ) as bar:
        for numbers, read in run_in_batches("features", rows_by_length(rows.examples), 32, run):
            for number, tokens in zip(numbers.tolist(), read, strict=True):
                # Indexed or cloned: a view would keep the whole batch.
                found[number] = (
                    tokens.clone()
                    if rows.layout is None
                    else tokens[rows.layout.positions(rows.windows[number])]
                )
            bar.update(len(numbers))
    hidden = [found[number] for number in range(len(rows.examples))]
    if rows.layout is None:
        return Features(
            hidden=torch.stack(hidden),
            labels=torch.tensor(split.labels),
            measure=partial(_measure_texts, task, split.labels),
        )
    return _of_windows(rows, rows.layout, hidden, split, task)


def _of_windows(
    rows: Rows, layout: Layout, hidden: Sequence[Tensor], split: Split, task: Task
) -> Features:
    """Return windows as items, or labelled tokens where each of them is an item."""
    labels = [
        torch.from_numpy(layout.labels(split.labels[each.text], each).astype(np.int64))
        for each in rows.windows
    ]
    truth = task.truth(split.texts, split.labels)
    measure = partial(_measure_windows, task, rows, truth)
    if layout.is_joint:
        return Features(hidden=hidden, labels=labels, measure=measure)
    ends = np.cumsum([len(each) for each in labels])[:-1]
    return Features(
        hidden=torch.cat(list(hidden))[:, None],
        labels=torch.cat(labels)[:, None],
        measure=lambda outputs: measure(np.split(np.concatenate(list(outputs)), ends)),
    )


def _measure_texts(task: Task, labels: np.ndarray, outputs: np.ndarray) -> Metrics:
    return task.validate(outputs, labels)


def _measure_windows(
    task: Task, rows: Rows, truth: np.ndarray, outputs: Sequence[np.ndarray]
) -> Metrics:
    """Return the metrics of windows, from the outputs of their labelled tokens, (P, C) each."""
    longest = max(len(example["input_ids"]) for example in rows.examples)
    tokens = np.full((len(outputs), longest, outputs[0].shape[-1]), np.nan, dtype=np.float32)
    for number, (window, found) in enumerate(zip(rows.windows, outputs, strict=True)):
        if rows.layout is not None:
            tokens[number, rows.layout.positions(window)] = found
    return task.validate(rows.read(tokens), truth)
