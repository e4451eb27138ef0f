"""Layouts: from the outputs of a text's tokens to the outputs of the text.

A task with one row of outputs per text has no layout. All other tasks read a text in overlapping
windows. Each window is a row of its own for the model, so that windows of many texts share a call.

Shapes: N = texts, T = tokens of a window, P = tokens of a window that labels belong to,
C = outputs per token.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from tokenizers import Encoding


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """A part of a text that a model reads at once."""

    text: int
    """Number of the text that the window is a part of."""
    encoding: Encoding
    places: np.ndarray
    """Places in the window, as `Layout.find` returns them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """Rules of one task: from texts to windows, and from the tokens' outputs to a text's."""

    columns: int
    """Number of texts per example. It is 2 where a second text is read in windows."""
    find: Callable[[Sequence[str], Sequence[Encoding], bool], list[np.ndarray]]
    """Finder of places: (text, encodings of its windows, whether it is from the data) -> the places
    in each window that `positions`, `labels` and `gather` take."""
    positions: Callable[[Window], np.ndarray]
    """Selection: (window) -> tokens that labels belong to, (P,), in increasing order."""
    labels: Callable[[np.ndarray, Window], np.ndarray]
    """Labels of tokens: (label of the text, window) -> labels of the selected tokens, (P,)."""
    gather: Callable[[Sequence[Window], Iterable[tuple[int, np.ndarray]], int], np.ndarray]
    """Assembly: (all windows, pairs of a window's number and its outputs (T, C), N) -> outputs (N,
    ...). The pairs may be in any order. Places without outputs are NaN."""
    is_joint: bool
    """Whether a window's labelled tokens share one distribution, so that no other token counts.
    Otherwise, each labelled token is an item, and the student follows the teacher at all tokens."""

    def cut(
        self, texts: Sequence[Sequence[str]], encodings: Sequence[Encoding], *, of_data: bool
    ) -> list[Window]:
        """Return the windows of all texts.

        Args:
            texts: Examples, each of as many texts as `columns`.
            encodings: Encodings of the tokenizers library, with those of the truncated rest.
            of_data: Whether the texts are from a split.
        """
        windows = []
        for number, (text, encoding) in enumerate(zip(texts, encodings, strict=True)):
            own = [encoding, *encoding.overflowing]
            windows += [
                Window(text=number, encoding=each, places=places)
                for each, places in zip(own, self.find(text, own, of_data), strict=True)
            ]
        return windows
