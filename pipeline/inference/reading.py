"""Readings of texts by an exported language model (models/token_layout.py), without torch.

Logits of a few texts exist at once; readings are kept.

Shapes: N = texts, T = tokens, V = size of the vocabulary, R = numbers of a reading.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from tokenizers import Encoding
from tqdm.auto import tqdm

from pipeline.errors import InputError
from pipeline.inference.token_windows import cut_windows, join_windows, part_windows
from pipeline.tasks.token_metrics import read_tokens, words_read

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

    Long texts are read in windows. A title asks for a bar.

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
    windows = cut_windows(encodings, model.encoder.settings)
    rows = [model.encoder.tokens_of(window.encoding) for window in windows]
    wanted = None if chosen is None else part_windows(windows, chosen)
    found: dict[int, np.ndarray] = {}
    size = 1 if model.mixes_rows else batch_size
    with tqdm(
        total=len(rows), desc=title, unit="text", leave=False, disable=None if title else True
    ) as bar:
        for numbers, inputs in model.batches_of(rows, size, _MOST_TOKENS):
            for number, logits in zip(numbers.tolist(), model.run(inputs), strict=True):
                ids, window = np.array(rows[number]["input_ids"]), windows[number]
                words = None if wanted is None else words_read(wanted[number])
                following = window.places + 1
                is_first = number == 0 or windows[number - 1].text != window.text
                sizes = _sizes(texts[window.text][0], window.encoding, is_first=is_first)
                found[number] = read_tokens(
                    logits[window.places], ids[following], words, sizes[following]
                )
            bar.update(len(numbers))
    return join_windows(windows, found, len(texts))


def _sizes(text: str, encoding: Encoding, *, is_first: bool) -> np.ndarray:
    """Return how many bytes of the text end with each token of a window, (T,)."""
    real = [place for place, mark in enumerate(encoding.special_tokens_mask) if not mark]
    ends = 0 if is_first or not real else encoding.offsets[real[0]][0]
    sizes = []
    for _, end in encoding.offsets:
        sizes.append(len(text[ends:end].encode()))
        ends = max(ends, end)
    return np.array(sizes, dtype=np.int64)
