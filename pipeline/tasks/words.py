"""Words of a text, and the token that a model answers for each of them at.

A text of the data is its words, joined by single spaces, so that its words are certain. In any
other text, words are what white space parts, without the brackets, quotation marks and marks of
punctuation around it, which are words of their own.

Shapes: N = texts, W = words, T = tokens, C = outputs per word.
"""

import re
from collections.abc import Sequence

import numpy as np

Span = tuple[int, int]
"""First character, and the one behind the last."""

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
        offsets: Characters of each token; those of special tokens are empty.
    """
    positions = np.full(len(words), -1)
    if not words:
        return positions
    starts = np.array([start for start, _ in words])
    ends = np.array([end for _, end in words])
    for position, (start, end) in enumerate(offsets):
        # Some tokenizers count the space before a word to its first token.
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
