"""Long texts of a language model in windows, and their readings put together again.

Windows overlap. Each token of a text but the first is predicted once, in the first window that
holds it. It is predicted after all tokens that stand before it there. A short text is one window.

Shapes: N = texts, W = windows, T = tokens of a window, P = tokens of a text, R = numbers of a
reading (models/token_layout.py).
"""

from collections.abc import Mapping, Sequence

import numpy as np
from tokenizers import Encoding

from pipeline.inference.tokens import TokenSettings
from pipeline.tasks.layout import Window
from pipeline.tasks.words import pad_rows


def cut_windows(encodings: Sequence[Encoding], settings: TokenSettings) -> list[Window]:
    """Return the windows of all texts, in order; their places are tokens whose next one counts.

    Args:
        encodings: What the tokenizers library made of each text, with what was truncated.
        settings: Those of the tokenizer.
    """
    windows = []
    for text, encoding in enumerate(encodings):
        parts = [encoding, *encoding.overflowing]
        if settings.truncation_side == "left":  # the last part comes first
            parts.reverse()
        for number, part in enumerate(parts):
            is_first, is_last = number == 0, number == len(parts) - 1
            places = _places(part, settings.overlap, is_first=is_first, is_last=is_last)
            windows.append(Window(text=text, encoding=part, places=places))
    return windows


def _places(encoding: Encoding, overlap: int, *, is_first: bool, is_last: bool) -> np.ndarray:
    """Return the tokens before those that are predicted in a window.

    Special tokens around a part of a text are not predicted, but at the text's own ends.
    """
    special = np.array(encoding.special_tokens_mask, dtype=bool)
    real = np.flatnonzero(~special)
    if not len(real):
        return np.arange(max(0, len(special) - 1)) if is_first else np.arange(0)
    begin = 1 if is_first else max(1, int(real[0]) + overlap)
    end = len(special) if is_last else int(real[-1]) + 1
    return np.arange(begin - 1, end - 1)


def join_windows(
    windows: Sequence[Window], parts: Mapping[int, np.ndarray], texts: int
) -> np.ndarray:
    """Return the readings of texts, (N, P, R) float32; NaN behind each text.

    Args:
        windows: Those of all texts.
        parts: By the number of a window, the readings of its places, (places, R).
        texts: N.
    """
    width = max((part.shape[1] for part in parts.values()), default=0)
    end = np.full((1, width), np.nan, np.float32)  # nothing follows a text's last token
    of_text: list[list[np.ndarray]] = [[] for _ in range(texts)]
    for number, window in enumerate(windows):
        if len(part := parts[number]):
            of_text[window.text].append(part.astype(np.float32))
    return pad_rows([np.concatenate([*each, end]) for each in of_text], np.nan)


def part_windows(windows: Sequence[Window], readings: np.ndarray) -> list[np.ndarray]:
    """Return the readings of each window's places, (places, R), of the texts' (N, P, R)."""
    at = dict.fromkeys((window.text for window in windows), 0)
    parts = []
    for window in windows:
        begin, size = at[window.text], len(window.places)
        parts.append(readings[window.text, begin : begin + size])
        at[window.text] = begin + size
    return parts
