"""Drift of incoming texts against the texts that the champion was made of.

Simple statistics have one test each: length, new words, and what the task knows of labels and
answers. Embeddings are left out. The tests share the level (Bonferroni), so unchanged sources are
reported as drifted no more often than it says.

Shapes: N = texts.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.statistics.two_samples import two_samples
from pipeline.tasks.task import Shift
from pipeline.texts.tables import Split, Text, stack_labels

MIN_TEXTS = 20
"""With fewer new texts no test could tell anything."""
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, kw_only=True, slots=True)
class Drift:
    """One statistic of the champion's texts and of the new ones."""

    name: str
    before: float
    """Its mean over the champion's texts."""
    now: float
    """Its mean over the new texts."""
    test: str
    p_value: float
    drifted: bool


def new_texts(before: Sequence[Split], now: Sequence[Split]) -> Split:
    """Return the examples of ``now`` whose text is nowhere in ``before``."""
    seen = {text for split in before for text in split.texts}
    kept = [
        (text, label)
        for split in now
        for text, label in zip(split.texts, split.labels, strict=True)
        if text not in seen
    ]
    return Split(
        texts=tuple(text for text, _ in kept),
        labels=_joined([label for _, label in kept], now[0].labels.dtype.type),
    )


def _joined(labels: Sequence[np.ndarray], dtype: type[np.generic]) -> np.ndarray:
    rows: list[Any] = [label if label.ndim == 0 else tuple(label.tolist()) for label in labels]
    return stack_labels(rows, dtype)


def measure_drift(
    before: Split, now: Split, shifts: Sequence[Shift], *, level: float
) -> tuple[Drift, ...]:
    """Return every statistic with its test.

    Args:
        before: The champion's texts.
        now: The new ones, at least `MIN_TEXTS`.
        shifts: The task's own statistics, of labels and answers.
        level: Probability of any false alarm.
    """
    half = len(before) // 2
    vocabulary = {word for text in before.texts[:half] for word in _words(text)}
    # The second half of the old texts, because the vocabulary knows the first by heart.
    unknown = (
        _unknown(before.texts[half:], vocabulary),
        _unknown(now.texts, vocabulary),
    )
    found = [
        Shift(name="words per text", **two_samples(_lengths(before.texts), _lengths(now.texts))),
        Shift(name="part of unknown words", **two_samples(*unknown)),
        *shifts,
    ]
    return tuple(
        Drift(
            name=each.name,
            before=each.before,
            now=each.now,
            test=each.test,
            p_value=each.p_value,
            drifted=each.p_value < level / len(found),
        )
        for each in found
    )


def _words(text: Text) -> list[str]:
    return _WORD.findall(" ".join(text).lower())


def _lengths(texts: Sequence[Text]) -> np.ndarray:
    return np.array([len(_words(text)) for text in texts], dtype=np.float64)


def _unknown(texts: Sequence[Text], vocabulary: set[str]) -> np.ndarray:
    """Return the part of each text's words that is not in the vocabulary, (N,)."""
    words = [_words(text) for text in texts]
    return np.array(
        [sum(word not in vocabulary for word in each) / max(1, len(each)) for each in words]
    )
