"""Texts to fit on and texts held out, in separate batches.

Rows of one text are held out together. Texts of one group (`Labels.together`) are held out together
too, such as questions about one context. Otherwise, fitted tokens would choose a ridge strength
that is too weak for new texts.

Rows are stored on disk, and a batch is read from there each time that it is used.

Shapes: R = rows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor
from transformers import BatchEncoding, PreTrainedTokenizerBase

from models.architectures.heads import Head
from models.on_demand import OnDemand
from pipeline.checkpoints.context import ModelContext
from pipeline.texts.mapped import TableWriter, map_table
from pipeline.texts.tables import Text
from pipeline.training.encoding import Example, batch_of
from pipeline.training.rows import Rows, row_parts
from pipeline.training.stored_examples import StoredExamples, store_examples

_COUNTS = "counts"
"""Name of the tokens that count in a stored example."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredRows:
    """Texts as rows of a model, on disk."""

    texts: Sequence[Text]
    examples: StoredExamples
    text_of: np.ndarray
    """Number of each row's text, (R,)."""
    groups: np.ndarray
    """A number of each row, (R,); equal ones belong together."""


def store_rows(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[Text],
    context: ModelContext,
    *,
    folder: Path,
) -> StoredRows:
    """Return texts as rows, written to files of a folder.

    Raises:
        InputError: for texts that the tokenizer does not know or cannot cut.
    """
    folder.mkdir(parents=True, exist_ok=True)
    together, text_of = context.task.labels.together, []

    def examples(groups: TableWriter) -> Iterator[list[Example]]:
        length, first = context.max_length, 0
        for rows in row_parts(
            tokenizer, texts, context.task, max_length=length, title="tokenising"
        ):
            if together is not None:
                names = [together(rows.texts[text]) for text in rows.text_of]
                groups.write(pa.table({"group": pa.array(names, pa.string())}))
            text_of.append(first + rows.text_of)
            first += len(rows.texts)
            yield _with_counts(rows)

    with TableWriter(folder / "groups.arrow") as groups:
        stored = store_examples(examples(groups), folder / "rows.arrow")
    own = np.concatenate(text_of)
    shared = own if together is None else _ranks(folder / "groups.arrow")
    if shared.max() == 0:  # texts that are all about one thing are parted all the same
        shared = np.arange(len(own))
    return StoredRows(texts=texts, examples=stored, text_of=own, groups=shared)


@dataclass(frozen=True, kw_only=True, slots=True)
class FitBatches:
    """Batches of rows of similar length, some of them held out."""

    tokenizer: PreTrainedTokenizerBase
    rows: StoredRows
    numbers: list[np.ndarray]
    """Numbers of the rows in each batch."""
    held_out: list[bool]
    """For each batch, whether it is held out."""
    device: torch.device | str = "cpu"
    """Device of the batches."""

    @property
    def batches(self) -> Sequence[BatchEncoding]:
        """Token ids and masks, read from disk batch by batch."""
        return OnDemand(self._batch, range(len(self.numbers)))

    @property
    def size(self) -> int:
        """Number of rows in the largest batch."""
        return max(map(len, self.numbers))

    @property
    def tokens(self) -> int:
        """Number of tokens that are no padding."""
        return int(self.rows.examples.lengths.sum())

    def on(self, device: torch.device) -> "FitBatches":
        """Return the batches with their tensors on a device."""
        return replace(self, device=device)

    def split(self, size: int) -> "FitBatches":
        """Return the rows in batches of at most this size; held-out rows stay held out."""
        parts = [
            (numbers[start : start + size], held)
            for numbers, held in zip(self.numbers, self.held_out, strict=True)
            for start in range(0, len(numbers), size)
        ]
        numbers, held_out = zip(*parts, strict=True)
        return replace(self, numbers=list(numbers), held_out=list(held_out))

    def counting(self, head: Head) -> Sequence[Tensor]:
        """Return each batch's mask of tokens that count at the end, (B, T), by task or head."""

        def of_batch(index: int) -> Tensor:
            mask = self._batch(index)["attention_mask"]
            if _COUNTS not in self.rows.examples.columns:
                return head.counting(mask)
            counts = torch.zeros_like(mask, dtype=torch.bool)
            for row, number in enumerate(self.numbers[index].tolist()):
                counts[row, self.rows.examples[number][_COUNTS]] = True
            return counts

        return OnDemand(of_batch, range(len(self.numbers)))

    @property
    def held_out_texts(self) -> list[Text]:
        """Texts that are held out."""
        pairs = zip(self.numbers, self.held_out, strict=True)
        rows = np.concatenate([numbers for numbers, is_held in pairs if is_held])
        return [self.rows.texts[number] for number in np.unique(self.rows.text_of[rows]).tolist()]

    def _batch(self, index: int) -> BatchEncoding:
        batch = batch_of(self.tokenizer, self.rows.examples, self.numbers[index])
        return batch.to(self.device)


def fit_batches(
    tokenizer: PreTrainedTokenizerBase,
    rows: StoredRows,
    *,
    batch_size: int,
    part: float,
    seed: int,
) -> FitBatches:
    """Return all rows in batches, with about this share held out, but never all."""
    is_held = _choose(rows, part, seed)
    numbers: list[np.ndarray] = []
    held_out: list[bool] = []
    for held in (False, True):
        own = np.flatnonzero(is_held == held)
        by_length = own[np.argsort(rows.examples.lengths[own], kind="stable")]
        found = [by_length[at : at + batch_size] for at in range(0, len(own), batch_size)]
        numbers += found
        held_out += [held] * len(found)
    return FitBatches(tokenizer=tokenizer, rows=rows, numbers=numbers, held_out=held_out)


def _with_counts(rows: Rows) -> list[Example]:
    """Return the examples of rows, with the tokens that count where not all of them do."""
    if rows.counting is None:
        return rows.examples
    pairs = zip(rows.examples, rows.counting, strict=True)
    return [{**example, _COUNTS: counts} for example, counts in pairs]


def _ranks(path: Path) -> np.ndarray:
    """Return the rank of each row's name among all different ones, (R,)."""
    ranks = pc.rank(map_table(path).column("group"), "ascending", tiebreaker="dense")
    return np.asarray(ranks).astype(np.int64) - 1


def _choose(rows: StoredRows, part: float, seed: int) -> np.ndarray:
    """Return the mask of held-out rows, (R,)."""
    groups = rows.groups
    sizes = np.bincount(groups)
    order = np.random.default_rng(seed).permutation(len(sizes))
    before = np.cumsum(sizes[order]) - sizes[order]
    chosen = order[before < max(1, round(part * len(groups)))][: len(sizes) - 1]
    held: np.ndarray = np.isin(groups, chosen)
    return held
