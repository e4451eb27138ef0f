"""Texts to fit on and texts held out, in separate batches.

Rows of one text are held out together. So are texts of one group (`Labels.together`), such as
questions about one context. Otherwise, fitted tokens would choose a ridge strength that is too weak
for new texts.

Shapes: R = rows.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from transformers import BatchEncoding, PreTrainedTokenizerBase

from models.architectures.heads import Head
from pipeline.tasks.task import Task
from pipeline.texts.tables import Text
from pipeline.training.encoding import batches_by_length
from pipeline.training.rows import Rows


@dataclass(frozen=True, kw_only=True, slots=True)
class FitBatches:
    """Batches of rows of similar length, some of them held out."""

    rows: Rows
    numbers: list[list[int]]
    """Numbers of the rows in each batch."""
    batches: list[BatchEncoding]
    held_out: list[bool]
    """For each batch, whether it is held out."""

    @property
    def size(self) -> int:
        """Number of rows in the largest batch."""
        return max(map(len, self.numbers))

    @property
    def tokens(self) -> int:
        """Number of tokens that are no padding."""
        return sum(int(batch["attention_mask"].sum()) for batch in self.batches)

    def on(self, device: torch.device) -> "FitBatches":
        """Return the batches with their tensors on a device."""
        return replace(self, batches=[batch.to(device) for batch in self.batches])

    def split(self, size: int) -> "FitBatches":
        """Return the rows in batches of at most this size; held-out rows stay held out."""
        parts = [
            (numbers[start : start + size], _part_of(batch, start, size), held)
            for numbers, batch, held in zip(self.numbers, self.batches, self.held_out, strict=True)
            for start in range(0, len(numbers), size)
        ]
        return replace(
            self,
            numbers=[numbers for numbers, _, _ in parts],
            batches=[batch for _, batch, _ in parts],
            held_out=[held for _, _, held in parts],
        )

    def counting(self, head: Head) -> list[Tensor]:
        """Return each batch's mask of tokens that count at the end, (B, T), by task or head."""
        found = []
        for numbers, batch in zip(self.numbers, self.batches, strict=True):
            counts = self.rows.counting(numbers, batch["attention_mask"])
            found.append(head.counting(batch["attention_mask"]) if counts is None else counts)
        return found

    @property
    def held_out_texts(self) -> list[Text]:
        """Number of held-out texts."""
        held = zip(self.numbers, self.held_out, strict=True)
        found = {_text_of(self.rows, row) for rows, is_held in held if is_held for row in rows}
        return [self.rows.texts[number] for number in sorted(found)]


def fit_batches(
    tokenizer: PreTrainedTokenizerBase,
    rows: Rows,
    task: Task,
    *,
    batch_size: int,
    part: float,
    seed: int,
) -> FitBatches:
    """Return all rows in batches, with about this share held out, but never all."""
    is_held = _choose(rows, task, part, seed)
    numbers: list[list[int]] = []
    batches: list[BatchEncoding] = []
    held_out: list[bool] = []
    for held in (False, True):
        own = np.flatnonzero(is_held == held)
        examples = [rows.examples[row] for row in own]
        for found, batch in batches_by_length(tokenizer, examples, batch_size=batch_size):
            numbers.append(own[found].tolist())
            batches.append(batch)
            held_out.append(held)
    return FitBatches(rows=rows, numbers=numbers, batches=batches, held_out=held_out)


def _part_of(batch: BatchEncoding, start: int, size: int) -> BatchEncoding:
    return BatchEncoding({name: tensor[start : start + size] for name, tensor in batch.items()})


def _choose(rows: Rows, task: Task, part: float, seed: int) -> np.ndarray:
    """Return the mask of held-out rows, (R,)."""
    count = len(rows.examples)
    together = task.labels.together
    texts = [_text_of(rows, row) for row in range(count)]
    keys = texts if together is None else [together(rows.texts[text]) for text in texts]
    if len(set(keys)) == 1:  # texts that form a single group are separated nevertheless
        keys = list(range(count))
    groups = np.unique(np.array(keys), return_inverse=True)[1]  # (R,)
    sizes = np.bincount(groups)
    order = np.random.default_rng(seed).permutation(len(sizes))
    before = np.cumsum(sizes[order]) - sizes[order]
    chosen = order[before < max(1, round(part * count))][: len(sizes) - 1]
    held: np.ndarray = np.isin(groups, chosen)
    return held


def _text_of(rows: Rows, row: int) -> int:
    """Return the number of a row's text."""
    return rows.windows[row].text if rows.windows else row
