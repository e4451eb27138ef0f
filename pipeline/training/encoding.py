"""Texts to token ids for training: one dictionary an example, padded per batch."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm
from transformers import BatchEncoding, PreTrainedModel, PreTrainedTokenizerBase

from models.losses import Objective
from pipeline.texts.tables import Split, Text

# Any: ids and masks are lists, labels a number, or a row of numbers.
Example = dict[str, Any]


def encode(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[Text], *, max_length: int
) -> list[Example]:
    """Return token ids and masks of each text or pair, truncated, not padded."""
    columns = [list(column) for column in zip(*texts, strict=True)]
    encoded = tokenizer(*columns, truncation=True, max_length=max_length)
    names = list(encoded.keys())
    return [{name: encoded[name][row] for name in names} for row in range(len(texts))]


def encode_labelled(
    tokenizer: PreTrainedTokenizerBase,
    split: Split,
    labels: Sequence[Any] | np.ndarray,
    *,
    max_length: int,
) -> list[Example]:
    """Return what `encode` does of a split, with ``labels``: one per text, or one row per text."""
    examples = encode(tokenizer, split.texts, max_length=max_length)
    return [{**e, "labels": y} for e, y in zip(examples, labels, strict=True)]


def batches_by_length(
    tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], *, batch_size: int
) -> Iterator[tuple[np.ndarray, BatchEncoding]]:
    """Yield (row numbers, padded tensors without labels), texts of similar length together."""
    lengths = [len(example["input_ids"]) for example in examples]
    order = np.argsort(lengths, kind="stable")
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        inputs = [{n: v for n, v in examples[row].items() if n != "labels"} for row in rows]
        yield rows, tokenizer.pad(inputs, return_tensors="pt")


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

    A title asks for a progress bar.

    Raises:
        ValueError: when the model is in training mode, whose dropout would make noise of them.
    """
    if model.training:
        raise ValueError("expected a model in eval mode: dropout would make noise of its outputs")
    outputs = np.zeros((0,), dtype=np.float32)
    # disable=None leaves the bar out where no terminal looks on.
    with tqdm(
        total=len(examples), desc=title, unit="text", leave=False, disable=None if title else True
    ) as bar:
        for rows, batch in batches_by_length(tokenizer, examples, batch_size=batch_size):
            found = objective.outputs(model(**batch.to(model.device))).float().cpu().numpy()
            if not len(outputs):
                outputs = np.zeros((len(examples), *found.shape[1:]), dtype=np.float32)
            outputs[rows] = found
            bar.update(len(rows))
    return outputs
