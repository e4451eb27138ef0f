"""Texts to token ids for training: one dictionary per example, padded per batch.

Training and inference share the code that makes tokens, pipeline/inference/tokens.py.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from tokenizers import Encoding
from torch import Tensor
from tqdm.auto import tqdm
from transformers import BatchEncoding, PreTrainedModel, PreTrainedTokenizerBase

from models.losses import Objective
from models.next_tokens import kept_outputs
from models.processes import exchange, own_part
from pipeline.checkpoints.tokenizers import encoder_of, token_settings
from pipeline.errors import InputError
from pipeline.inference.tokens import INPUTS, Tokens
from pipeline.tasks.words import pad_rows
from pipeline.texts.cells import MISSING_LABEL
from pipeline.texts.tables import Text
from pipeline.training.memory import run_in_batches
from pipeline.workers.bars import hides_bars

# Any: ids and masks are lists, labels a number, or a row of numbers.
Example = dict[str, Any]

_MOST_UNKNOWN = 0.5
"""Largest share of unknown tokens; above it, the tokenizer does not fit the texts."""
_OTHER_TOKENS = (
    "Student and teacher make different tokens of the texts, so the teacher's outputs do not fit "
    "the student's tokens. Set student.model to a model with the teacher's tokenizer."
)
_FEWEST_TOKENS = 64
"""Fewest tokens for a verdict on a tokenizer from its unknown tokens."""


def encode(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[Text], *, max_length: int
) -> list[Example]:
    """Return the model's inputs for each text or pair, truncated and not padded.

    Raises:
        InputError: when the tokenizer lacks most of the texts' words, or special tokens alone
            exceed ``max_length``.
    """
    encoder = encoder_of(tokenizer, max_length=max_length)
    with _refusing(tokenizer):
        rows = encoder.encode(texts)
    special = encoder.tokenizer.num_special_tokens_to_add(any(len(text) > 1 for text in texts))
    _check_known(tokenizer, rows, special=special)
    return [{name: row[name] for name in tokenizer.model_input_names} for row in rows]


def encode_windows(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[Text],
    *,
    max_length: int,
    windows_of: int,
) -> tuple[list[Example], list[Encoding]]:
    """Return the model's inputs for each window, and the encoding of each text with its windows.

    Args:
        tokenizer: Tokenizer that encodes the texts.
        texts: Texts or pairs.
        max_length: Longest window, in tokens.
        windows_of: Number of texts per example.

    Raises:
        InputError: as `encode` does, and for a text that leaves no room for windows.
    """
    encoder = encoder_of(tokenizer, max_length=max_length, windows_of=windows_of)
    with _refusing(tokenizer):
        encodings = encoder.encodings(texts)
    rows = [encoder.tokens_of(each) for one in encodings for each in (one, *one.overflowing)]
    special = encoder.tokenizer.num_special_tokens_to_add(windows_of > 1)
    _check_known(tokenizer, rows, special=special)
    return [{name: row[name] for name in tokenizer.model_input_names} for row in rows], encodings


@contextmanager
def _refusing(tokenizer: PreTrainedTokenizerBase) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except ValueError as error:
        raise InputError(
            f"The tokenizer in {tokenizer.name_or_path} cannot encode these texts: {error}. Raise "
            "data.max_length, or give a model with a sound tokenizer."
        ) from error


def collator(
    tokenizer: PreTrainedTokenizerBase,
) -> Callable[[Sequence[Example]], dict[str, Tensor]]:
    """Return a function from examples to a batch: padded tensors (B, T), and labels (B, ...)."""
    settings = token_settings(tokenizer)

    def collate(examples: Sequence[Example]) -> dict[str, Tensor]:
        padded = settings.pad(examples, [name for name in INPUTS if name in examples[0]])
        batch = {name: torch.from_numpy(array) for name, array in padded.items()}
        if "labels" in examples[0]:
            batch["labels"] = _stack([example["labels"] for example in examples])
        return batch

    return collate


def _stack(labels: Sequence[Any]) -> Tensor:
    """Return the labels of a batch; labels of tokens are padded by -100 or NaN."""
    rows = [np.asarray(label) for label in labels]
    if len({row.shape for row in rows}) > 1:
        return torch.tensor(pad_rows(rows, np.nan if rows[0].dtype.kind == "f" else MISSING_LABEL))
    return torch.tensor(np.stack(rows) if isinstance(labels[0], np.ndarray) else labels)


def rows_by_length(examples: Sequence[Example]) -> np.ndarray:
    """Return the numbers of all rows, ordered so that rows of similar length are adjacent."""
    return np.argsort([len(example["input_ids"]) for example in examples], kind="stable")


def batch_of(
    tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], rows: np.ndarray
) -> BatchEncoding:
    """Return some rows as padded tensors (B, T), without labels."""
    inputs = [{n: v for n, v in examples[row].items() if n != "labels"} for row in rows]
    return BatchEncoding(collator(tokenizer)(inputs))


@torch.inference_mode()
def compute_outputs(
    model: PreTrainedModel,
    objective: Objective,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    *,
    batch_size: int = 32,
    title: str | None = None,
    teacher: np.ndarray | None = None,
) -> np.ndarray:
    """Return the outputs of a model in eval mode, (N, C) float32, in the examples' order.

    Outputs for every token are (N, T, C), and NaN behind a text's last token. Outputs of a language
    model are readings. They read the same words as a teacher's readings (N, T, R), if given. A
    title gives the work a progress bar.

    Raises:
        ValueError: when the model is in training mode, where dropout adds noise to the outputs.
    """
    if model.training:
        raise ValueError("expected a model in eval mode, because dropout adds noise to the outputs")
    outputs = np.zeros((0,), dtype=np.float32)

    def run(rows: np.ndarray) -> np.ndarray:
        batch = batch_of(tokenizer, examples, rows).to(model.device)
        chosen = None
        if teacher is not None and objective.is_read:
            width = batch["input_ids"].shape[1]
            chosen = torch.from_numpy(teacher[rows, :width]).to(model.device)
        found = kept_outputs(model, objective, batch, chosen).float()
        if found.ndim == 3:
            found[batch["attention_mask"] == 0] = torch.nan
        array: np.ndarray = found.cpu().numpy()
        return array

    with tqdm(
        total=len(examples),
        desc=title,
        unit="text",
        leave=False,
        disable=hides_bars() if title else True,
    ) as bar:
        order = np.asarray(own_part(rows_by_length(examples).tolist()), dtype=int)
        for rows, found in run_in_batches(title or "outputs", order, batch_size, run):
            if not len(outputs):
                outputs = _room_for(found, examples)
            if found.ndim == 3:
                outputs[rows, : found.shape[1]] = found
            else:
                outputs[rows] = found
            bar.update(len(rows))
    return _of_all_processes(order, outputs)


def _of_all_processes(rows: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """Return all rows' outputs, gathered from all processes."""
    parts = exchange((rows, outputs[rows] if len(rows) else None))
    if len(parts) > 1 and not len(outputs):
        shape = next(part.shape[1:] for _, part in parts if part is not None)
        outputs = np.empty((sum(len(each) for each, _ in parts), *shape), dtype=np.float32)
    for own, part in parts if len(parts) > 1 else ():
        if part is not None:
            outputs[own] = part
    return outputs


def _room_for(found: np.ndarray, examples: Sequence[Example]) -> np.ndarray:
    """Return an empty array for all outputs, shaped like the outputs of one batch."""
    if found.ndim == 2:
        return np.zeros((len(examples), found.shape[1]), dtype=np.float32)
    longest = max(len(example["input_ids"]) for example in examples)
    return np.full((len(examples), longest, found.shape[2]), np.nan, dtype=np.float32)


def _check_known(
    tokenizer: PreTrainedTokenizerBase, rows: Sequence[Tokens], *, special: int
) -> None:
    """Refuse texts with mostly unknown tokens, because a model learns nothing from them."""
    unknown = tokenizer.unk_token_id
    # GPT-2's unknown token also ends texts; its vocabulary has all bytes.
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
