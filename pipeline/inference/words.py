"""Outputs for every word of a text: long texts in windows, each word where it has most context.

A window is a row of its own for the model, so that texts share calls with those of others.

Shapes: N = texts, W = words, T = tokens, C = outputs per word.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from tokenizers import Encoding

from pipeline.tasks.words import Span, first_tokens_of

FindWords = Callable[[str], list[Span]]
"""(text) -> its words."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """A part of a text that a model reads at once."""

    text: int
    """Number of the text."""
    encoding: Encoding
    first_tokens: np.ndarray
    """Position of each word's first token, (W,); -1 where the window does not hold it."""


def cut_windows(
    texts: Sequence[Sequence[str]], encodings: Sequence[Encoding], find_words: FindWords
) -> list[Window]:
    """Return the windows of all texts, whose encodings hold what was truncated."""
    windows = []
    for number, ((text,), encoding) in enumerate(zip(texts, encodings, strict=True)):
        words = find_words(text)
        windows += [
            Window(text=number, encoding=each, first_tokens=first_tokens_of(words, each.offsets))
            for each in (encoding, *encoding.overflowing)
        ]
    return windows


def gather_words(
    windows: Sequence[Window], found: Iterable[tuple[int, np.ndarray]], texts: int
) -> np.ndarray:
    """Return the outputs of every word, (N, W, C) float32; NaN behind a text's last word.

    Args:
        windows: All windows.
        found: (number of a window, its outputs (T, C)), in any order.
        texts: N.
    """
    width = max((len(each.first_tokens) for each in windows), default=0)
    outputs = np.zeros((texts, width, 0), dtype=np.float32)
    context = np.full((texts, width), -1)  # tokens on the nearer side of each word
    for number, tokens in found:
        if not outputs.shape[2]:
            outputs = np.full((texts, width, tokens.shape[1]), np.nan, dtype=np.float32)
        window = windows[number]
        words = np.flatnonzero(window.first_tokens >= 0)
        positions = window.first_tokens[words]
        nearer = np.minimum(positions, len(window.encoding.ids) - 1 - positions)
        better = nearer > context[window.text, words]
        context[window.text, words[better]] = nearer[better]
        outputs[window.text, words[better]] = tokens[positions[better]]
    return outputs
