"""Texts to token ids for training: one dictionary an example, padded per batch.

Tokens are made where inference makes them too, in pipeline/inference/tokens.py.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm
from transformers import BatchEncoding, PreTrainedModel, PreTrainedTokenizerBase

from models.losses import Objective
from pipeline.checkpoints.tokenizers import encoder_of, token_settings
from pipeline.errors import InputError
from pipeline.inference.tokens import INPUTS, Tokens
from pipeline.tasks.task import Task
from pipeline.tasks.words import data_words, first_tokens_of, pad_rows
from pipeline.texts.cells import MISSING_LABEL
from pipeline.texts.tables import Split, Text
from pipeline.workers.bars import hides_bars

# Any: ids and masks are lists, labels a number, or a row of numbers.
Example = dict[str, Any]

_MOST_UNKNOWN = 0.5
"""Part of unknown tokens above which a tokenizer is not for these texts."""
_FEWEST_TOKENS = 64
"""Tokens below which unknown ones say nothing about a tokenizer."""


def encode(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[Text], *, max_length: int
) -> list[Example]:
    """Return the model's inputs of each text or pair, truncated, not padded.

    Raises:
        InputError: when the tokenizer does not know most of the texts' words, or special tokens
            alone exceed ``max_length``.
    """
    encoder = encoder_of(tokenizer, max_length=max_length)
    try:
        rows = encoder.encode(texts)
    except ValueError as error:
        raise InputError(
            f"The tokenizer in {tokenizer.name_or_path} cannot encode these texts: {error}. Raise "
            "data.max_length, or give a model with a sound tokenizer."
        ) from error
    special = encoder.tokenizer.num_special_tokens_to_add(any(len(text) > 1 for text in texts))
    _check_known(tokenizer, rows, special=special)
    return [{name: row[name] for name in tokenizer.model_input_names} for row in rows]


def encode_labelled(
    tokenizer: PreTrainedTokenizerBase,
    split: Split,
    task: Task,
    *,
    max_length: int,
    targets: np.ndarray | None = None,
) -> list[Example]:
    """Return what `encode` does of a split, with ``labels``, and with targets where given.

    Labels of words stand at the words' first tokens, and -100 at all other tokens.

    Args:
        tokenizer: What encodes the texts.
        split: Texts and labels.
        task: Says what its labels belong to.
        max_length: Longest input, in tokens.
        targets: A teacher's outputs, (N, C) or (N, T, C); ``labels`` hold both, packed.

    Raises:
        InputError: when the teacher's outputs are those of another tokenizer's tokens.
    """
    examples = encode(tokenizer, split.texts, max_length=max_length)
    labels: Sequence[Any] | np.ndarray
    if task.per_word:
        placed = _at_first_tokens(tokenizer, split, max_length=max_length)
        labels = placed if targets is None else _pack_tokens(placed, targets)
    else:
        labels = split.labels.tolist() if targets is None else task.pack(split.labels, targets)
    return [{**e, "labels": y} for e, y in zip(examples, labels, strict=True)]


def word_positions(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[Text], *, max_length: int
) -> list[np.ndarray]:
    """Return the position of the first token of every word of texts of the data; -1 for none."""
    encodings = encoder_of(tokenizer, max_length=max_length).encodings(texts)
    return [
        first_tokens_of(data_words(text), encoding.offsets)
        for (text,), encoding in zip(texts, encodings, strict=True)
    ]


def _at_first_tokens(
    tokenizer: PreTrainedTokenizerBase, split: Split, *, max_length: int
) -> list[list[int]]:
    """Return the label of every token, (T,) per text: a word's at its first one, else -100."""
    encoder = encoder_of(tokenizer, max_length=max_length)
    placed = []
    for (text,), label, encoding in zip(
        split.texts, split.labels, encoder.encodings(split.texts), strict=True
    ):
        positions = first_tokens_of(data_words(text), encoding.offsets)
        tokens = np.full(max(1, len(encoding.ids)), MISSING_LABEL)
        held = positions >= 0
        tokens[positions[held]] = label[: len(positions)][held]
        placed.append(tokens.tolist())
    return placed


def _pack_tokens(placed: Sequence[Sequence[int]], targets: np.ndarray) -> list[np.ndarray]:
    """Return rows of a token's label and the teacher's outputs, (T, 1 + C) float32 per text."""
    tokens = (~np.isnan(targets[..., 0])).sum(axis=1)  # (N,)
    own = np.array([len(labels) for labels in placed])
    if not np.array_equal(tokens, own):
        raise InputError(
            "Student and teacher cut the texts into other tokens, so that the teacher's outputs "
            "are not those of the student's tokens. Give student.model one with the teacher's "
            "tokenizer."
        )
    return [
        np.column_stack([labels, rows[: len(labels)]]).astype(np.float32)
        for labels, rows in zip(placed, targets, strict=True)
    ]


def collator(
    tokenizer: PreTrainedTokenizerBase,
) -> Callable[[Sequence[Example]], dict[str, Tensor]]:
    """Return what makes one batch of examples: padded tensors (B, T), and their labels (B, ...)."""
    settings = token_settings(tokenizer)

    def collate(examples: Sequence[Example]) -> dict[str, Tensor]:
        padded = settings.pad(examples, [name for name in INPUTS if name in examples[0]])
        batch = {name: torch.from_numpy(array) for name, array in padded.items()}
        if "labels" in examples[0]:
            batch["labels"] = _stack([example["labels"] for example in examples])
        return batch

    return collate


def _stack(labels: Sequence[Any]) -> Tensor:
    """Return the labels of a batch; those of tokens are padded, by -100 or NaN."""
    rows = [np.asarray(label) for label in labels]
    if len({row.shape for row in rows}) > 1:
        return torch.tensor(pad_rows(rows, np.nan if rows[0].dtype.kind == "f" else MISSING_LABEL))
    return torch.tensor(np.stack(rows) if isinstance(labels[0], np.ndarray) else labels)


def batches_by_length(
    tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], *, batch_size: int
) -> Iterator[tuple[np.ndarray, BatchEncoding]]:
    """Yield (row numbers, padded tensors without labels), texts of similar length together."""
    lengths = [len(example["input_ids"]) for example in examples]
    order = np.argsort(lengths, kind="stable")
    collate = collator(tokenizer)
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        inputs = [{n: v for n, v in examples[row].items() if n != "labels"} for row in rows]
        yield rows, BatchEncoding(collate(inputs))


@torch.inference_mode()
def compute_outputs(
    model: PreTrainedModel,
    objective: Objective,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    *,
    batch_size: int = 32,
    title: str | None = None,
) -> np.ndarray:
    """Return the outputs of a model in eval mode, (N, C) float32, in the examples' order.

    Outputs for every token are (N, T, C), and NaN behind a text's last token. A title asks for a
    progress bar.

    Raises:
        ValueError: when the model is in training mode, whose dropout would make noise of them.
    """
    if model.training:
        raise ValueError("expected a model in eval mode: dropout would make noise of its outputs")
    outputs = np.zeros((0,), dtype=np.float32)
    with tqdm(
        total=len(examples),
        desc=title,
        unit="text",
        leave=False,
        disable=hides_bars() if title else True,
    ) as bar:
        for rows, batch in batches_by_length(tokenizer, examples, batch_size=batch_size):
            found = objective.outputs(model(**batch.to(model.device))).float().cpu().numpy()
            if not len(outputs):
                outputs = _room_for(found, examples)
            if found.ndim == 3:
                found[batch["attention_mask"].cpu().numpy() == 0] = np.nan
                outputs[rows, : found.shape[1]] = found
            else:
                outputs[rows] = found
            bar.update(len(rows))
    return outputs


def _room_for(found: np.ndarray, examples: Sequence[Example]) -> np.ndarray:
    """Return an array for all outputs, by those of one batch."""
    if found.ndim == 2:
        return np.zeros((len(examples), found.shape[1]), dtype=np.float32)
    longest = max(len(example["input_ids"]) for example in examples)
    return np.full((len(examples), longest, found.shape[2]), np.nan, dtype=np.float32)


def read_words(outputs: np.ndarray, positions: Sequence[np.ndarray]) -> np.ndarray:
    """Return outputs for every word, (N, W, C), of those of the tokens, (N, T, C).

    Args:
        outputs: A model's, of texts of the data.
        positions: What `word_positions` returns of these texts.
    """
    rows = []
    for tokens, first in zip(outputs, positions, strict=True):
        words = tokens[np.maximum(first, 0)]
        words[first < 0] = np.nan
        rows.append(words)
    return pad_rows(rows, np.nan)


def _check_known(
    tokenizer: PreTrainedTokenizerBase, rows: Sequence[Tokens], *, special: int
) -> None:
    """Refuse texts most of whose tokens are unknown: a model learns nothing from them."""
    unknown = tokenizer.unk_token_id
    # GPT-2's unknown token is the one that ends texts; its vocabulary knows all bytes.
    if unknown is None or unknown in (tokenizer.eos_token_id, tokenizer.pad_token_id):
        return
    ids = [row["input_ids"] for row in rows]
    total = sum(map(len, ids)) - special * len(rows)
    part = sum(row.count(unknown) for row in ids) / max(1, total)
    if total >= _FEWEST_TOKENS and part > _MOST_UNKNOWN:
        raise InputError(
            f"{100 * part:.0f}% of the tokens of these texts are {tokenizer.unk_token}: the "
            f"tokenizer in {tokenizer.name_or_path} does not know their words. Give the model with "
            "its own tokenizer, or a model of the texts' language."
        )
