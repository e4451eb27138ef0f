"""Words of a text, and the token at which a model answers for each word.

A text of the data is its words, joined by single spaces, so that its words are certain. Any other
text is split at white space. Brackets, quotation marks and punctuation around a part are words of
their own.

Shapes: N = texts, W = words, T = tokens, C = outputs per word.
"""

import re
from collections.abc import Iterable, Sequence

import numpy as np
from tokenizers import Encoding

from pipeline.tasks.layout import Layout, Window

Span = tuple[int, int]
"""A span as its first character, and the character behind its last."""

_CHUNK = re.compile(r"\S+")
_BEFORE = re.compile("[(\\[{<\"'«„“\u2018]")
_BEHIND = re.compile("[)\\]}>\"'»”“\u2018\u2019.,;:!?…]")


def data_words(text: str) -> list[Span]:
    """Return the words of a text of the data."""
    spans, start = [], 0
    for word in text.split(" "):
        spans.append((start, start + len(word)))
        start += len(word) + 1
    return spans


def free_words(text: str) -> list[Span]:
    """Return the words of any text."""
    spans: list[Span] = []
    for chunk in _CHUNK.finditer(text):
        start, end = chunk.span()
        while end - start > 1 and _BEFORE.match(text[start]):
            spans.append((start, start + 1))
            start += 1
        last = end
        while last - start > 1 and _BEHIND.match(text[last - 1]):
            last -= 1
        spans.append((start, last))
        spans += [(at, at + 1) for at in range(last, end)]
    return spans


def first_tokens_of(words: Sequence[Span], offsets: Sequence[Span]) -> np.ndarray:
    """Return the position of each word's first token, (W,); -1 for a word without one.

    Args:
        words: Spans in increasing order.
        offsets: Characters of each token; empty for special tokens.
    """
    positions = np.full(len(words), -1)
    if not words:
        return positions
    starts = np.array([start for start, _ in words])
    ends = np.array([end for _, end in words])
    for position, (start, end) in enumerate(offsets):
        # Some tokenizers include the space before a word in its first token.
        word = int(np.searchsorted(starts, end - 1, side="right")) - 1
        if end > start and word >= 0 and end <= ends[word] and positions[word] < 0:
            positions[word] = position
    return positions


def pad_rows(rows: Sequence[np.ndarray], filler: float) -> np.ndarray:
    """Return rows of unlike lengths, (L, ...) each, as one array (N, longest L, ...)."""
    width = max((len(row) for row in rows), default=0)
    rest = rows[0].shape[1:] if rows else ()
    padded = np.full((len(rows), width, *rest), filler, dtype=rows[0].dtype if rows else float)
    for number, row in enumerate(rows):
        padded[number, : len(row)] = row
    return padded


def _find_words(
    text: Sequence[str], encodings: Sequence[Encoding], of_data: bool
) -> list[np.ndarray]:
    """Return the position of each word's first token, (W,); -1 where a window lacks the word."""
    words = data_words(text[0]) if of_data else free_words(text[0])
    return [first_tokens_of(words, each.offsets) for each in encodings]


def _held_words(window: Window) -> np.ndarray:
    held: np.ndarray = window.places[window.places >= 0]
    return held


def _labels_of_words(label: np.ndarray, window: Window) -> np.ndarray:
    own: np.ndarray = label[: len(window.places)][window.places >= 0]
    return own


def gather_words(
    windows: Sequence[Window], found: Iterable[tuple[int, np.ndarray]], texts: int
) -> np.ndarray:
    """Return the outputs of every word, (N, W, C) float32; NaN behind a text's last word.

    A word in several windows is read in the window where it has most context.

    Args:
        windows: All windows.
        found: (number of a window, its outputs (T, C)), in any order.
        texts: N.
    """
    width = max((len(each.places) for each in windows), default=0)
    outputs = np.zeros((texts, width, 0), dtype=np.float32)
    context = np.full((texts, width), -1)  # tokens on the nearer side of each word
    for number, tokens in found:
        if not outputs.shape[2]:
            outputs = np.full((texts, width, tokens.shape[1]), np.nan, dtype=np.float32)
        window = windows[number]
        words = np.flatnonzero(window.places >= 0)
        positions = window.places[words]
        nearer = np.minimum(positions, len(window.encoding.ids) - 1 - positions)
        better = nearer > context[window.text, words]
        context[window.text, words[better]] = nearer[better]
        outputs[window.text, words[better]] = tokens[positions[better]]
    return outputs


WORD_LAYOUT = Layout(
    columns=1,
    find=_find_words,
    positions=_held_words,
    labels=_labels_of_words,
    gather=gather_words,
    is_joint=False,
)
"""A row of outputs for every word, read at the word's first token."""
