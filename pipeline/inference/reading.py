"""Readings of texts by an exported language model (models/token_layout.py), without torch.

Logits of a few texts exist at once; readings are kept.

Shapes: N = texts, T = tokens, V = size of the vocabulary, R = numbers of a reading.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from tokenizers import Encoding
from tqdm.auto import tqdm

from models.token_layout import SIZE_BYTES
from pipeline.errors import InputError
from pipeline.tasks.token_metrics import read_tokens, words_read
from pipeline.tasks.words import pad_rows

if TYPE_CHECKING:  # pyarrow, which it imports, would cost a server 40 MB
    from pipeline.inference.classifier import Classifier
    from pipeline.texts.tables import Text

_MOST_TOKENS = 512
"""Padded tokens per call: 100 MB of logits for a vocabulary of 49,000 words."""


def text_readings(
    model: "Classifier",
    texts: "Sequence[Text]",
    *,
    batch_size: int,
    title: str | None = None,
    chosen: np.ndarray | None = None,
) -> np.ndarray:
    """Return the readings of texts, (N, T, R) float32, in their order; NaN behind each text.

    A title asks for a bar.

    Args:
        model: A language model.
        texts: Single texts.
        batch_size: Most texts per call.
        title: Of the progress bar.
        chosen: Readings of the same texts by another model of the same tokenizer, whose words are
            read.

    Raises:
        InputError: for a pair of texts, or for readings of other tokens.
    """
    if any(len(text) != 1 for text in texts):
        raise InputError(f"A {model.task.name} takes single texts, found a pair. Give one text.")
    encodings = model.encoder.encodings(texts)
    rows = [model.encoder.tokens_of(encoding) for encoding in encodings]
    found: list[np.ndarray] = [np.zeros((0, 0), np.float32)] * len(texts)
    size = 1 if model.mixes_rows else batch_size
    with tqdm(
        total=len(texts), desc=title, unit="text", leave=False, disable=None if title else True
    ) as bar:
        for numbers, inputs in model.batches_of(rows, size, _MOST_TOKENS):
            for number, logits in zip(numbers.tolist(), model.run(inputs), strict=True):
                ids = np.array(rows[number]["input_ids"])
                words = None if chosen is None else words_read(chosen[number, : len(ids) - 1])
                readings = read_tokens(logits[: len(ids) - 1], ids[1:], words)
                readings[:, SIZE_BYTES] = _sizes(texts[number][0], encodings[number])[1:]
                found[number] = readings
            bar.update(len(numbers))
    width = max((each.shape[1] for each in found), default=0)
    nothing = np.zeros((0, width), np.float32)  # of a text without any token
    return pad_rows([each if each.size else nothing for each in found], np.nan)


def _sizes(text: str, encoding: Encoding) -> list[int]:
    """Return how many bytes of the text end with each token, (T,)."""
    ends, sizes = 0, []
    for _, end in encoding.offsets:
        sizes.append(len(text[ends:end].encode()))
        ends = max(ends, end)
    return sizes or [0]
