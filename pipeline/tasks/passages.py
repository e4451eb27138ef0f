"""A context in windows beside its question, and the readings of an answer's ends.

The tokens that count are those of the context and the first token of the input. The first token
stands for "no answer". Windows overlap; each is a distribution of its own, as in training.

Readings have a row for each of these tokens, window after window. A row holds the token's first
character in the context and the character behind its last. Two logits follow, that the answer
begins there and that it ends there. A window's first row is the first token of the input. It has no
characters, but -1 and the threshold of "no answer" (pipeline/tasks/span_metrics.py).

Shapes: N = texts, T = tokens of a window, P = tokens that count; readings are (N, P, 4), NaN
behind the last row of a text.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from tokenizers import Encoding

from pipeline.tasks.layout import Layout, Window
from pipeline.tasks.set_metrics import DEFAULT_THRESHOLD
from pipeline.tasks.words import pad_rows

FIRST, BEHIND, BEGINS, ENDS = range(4)
"""Columns of readings."""
NO_CHARACTER = -1
"""Number in place of the first character of a window's first token, which has none."""
IS_FIRST, IS_LAST = 1, 2
"""Labels of the answer's first and last token, as models/span_losses.py has them."""


def _find_context(
    _text: Sequence[str], encodings: Sequence[Encoding], _of_data: bool
) -> list[np.ndarray]:
    """Return position, first character and the one behind the last of tokens that count, (P, 3)."""
    return [_context_of(each) for each in encodings]


def _context_of(encoding: Encoding) -> np.ndarray:
    rows = [(0, NO_CHARACTER, NO_CHARACTER)]
    rows += [
        (position, start, end)
        for position, (part, (start, end)) in enumerate(
            zip(encoding.sequence_ids, encoding.offsets, strict=True)
        )
        if part == 1 and end > start
    ]
    return np.array(rows)


def _context_tokens(window: Window) -> np.ndarray:
    positions: np.ndarray = window.places[:, 0]
    return positions


def _labels_of_tokens(label: np.ndarray, window: Window) -> np.ndarray:
    """Return which tokens are the ends of the text's first answer, (P,).

    Where a window lacks a part of the answer, both ends are its first token, "no answer".
    """
    labels = np.zeros(len(window.places), dtype=np.int64)
    start, end = label[:2]
    starts, ends = window.places[1:, 1], window.places[1:, 2]
    holds = len(starts) > 0 and 0 <= starts[0] <= start and end <= ends[-1]
    first = 1 + int(np.searchsorted(ends, start, side="right")) if holds else 0
    last = int(np.searchsorted(starts, end, side="left")) if holds else 0
    if last < first:  # the answer has no token of its own
        first = last = 0
    labels[first] += IS_FIRST
    labels[last] += IS_LAST
    return labels


def _gather(
    windows: Sequence[Window], found: Iterable[tuple[int, np.ndarray]], texts: int
) -> np.ndarray:
    """Return the readings of texts, (N, P, 4) float32."""
    of_text: list[dict[int, np.ndarray]] = [{} for _ in range(texts)]
    for number, tokens in found:
        window = windows[number]
        rows = np.column_stack([window.places[:, 1:], tokens[window.places[:, 0]]])
        rows[0, BEHIND] = DEFAULT_THRESHOLD
        of_text[window.text][number] = rows.astype(np.float32)
    nothing = np.zeros((0, 4), dtype=np.float32)
    return pad_rows(
        [np.concatenate([nothing, *(rows[n] for n in sorted(rows))]) for rows in of_text], np.nan
    )


def windows_of(readings: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the windows of one text's readings, (P of the window, 4)."""
    own = readings[~np.isnan(readings[:, FIRST])]
    starts = np.flatnonzero(own[:, FIRST] == NO_CHARACTER)
    yield from np.split(own, starts[1:])


def attach_threshold(readings: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Return the readings with this threshold of "no answer", (1,)."""
    attached = readings.copy()
    attached[..., BEHIND][readings[..., FIRST] == NO_CHARACTER] = thresholds[0]
    return attached


SPAN_LAYOUT = Layout(
    columns=2,
    find=_find_context,
    positions=_context_tokens,
    labels=_labels_of_tokens,
    gather=_gather,
    is_joint=True,
)
"""Two logits for every token of a context, beside the question."""
