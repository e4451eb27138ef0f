"""How the outputs of a text's tokens become what a task reads of the text.

A task with one row of outputs per text has no layout. All others read a text in windows that
overlap. A window is a row of its own for the model, so that texts share calls with those of others.

Shapes: N = texts, T = tokens of a window, P = those of them that labels belong to, C = outputs per
token.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from tokenizers import Encoding


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """A part of a text that a model reads at once."""

    text: int
    """Number of the text."""
    encoding: Encoding
    places: np.ndarray
    """What `Layout.find` returns of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """How texts are read in windows, and what their tokens' outputs are to a text."""

    columns: int
    """Number of texts of an example: 1, or 2 where the windows are those of the second one."""
    find: Callable[[Sequence[str], Sequence[Encoding], bool], list[np.ndarray]]
    """(text, encodings of its windows, whether the text is one of the data) -> places in each
    window, as the other functions take them."""
    positions: Callable[[Window], np.ndarray]
    """(window) -> tokens that labels belong to, (P,), in increasing order."""
    labels: Callable[[np.ndarray, Window], np.ndarray]
    """(label of its text, window) -> label of each of these tokens, (P,)."""
    gather: Callable[[Sequence[Window], Iterable[tuple[int, np.ndarray]], int], np.ndarray]
    """(all windows, (number of a window, its outputs (T, C)) in any order, N) -> outputs of the
    texts, (N, ...): NaN for what no window gave."""
    is_joint: bool
    """Whether a window's labelled tokens share one distribution. No other token counts then. Else
    each labelled token is an item of its own, and the teacher is followed at all tokens."""

    def cut(
        self, texts: Sequence[Sequence[str]], encodings: Sequence[Encoding], *, of_data: bool
    ) -> list[Window]:
        """Return the windows of all texts.

        Args:
            texts: Each of so many texts as `columns` says.
            encodings: What the tokenizers library made of them, with what was truncated.
            of_data: Whether the texts are those of a split.
        """
        windows = []
        for number, (text, encoding) in enumerate(zip(texts, encodings, strict=True)):
            own = [encoding, *encoding.overflowing]
            windows += [
                Window(text=number, encoding=each, places=places)
                for each, places in zip(own, self.find(text, own, of_data), strict=True)
            ]
        return windows
