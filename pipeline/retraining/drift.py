"""Whether incoming texts differ from those that the champion was made of.

Four simple statistics with a test each, no embeddings: how long the texts are, how many of their
words are new, how the labels are mixed, and how sure the champion is. The level is shared among the
tests (Bonferroni), so that unchanged sources are reported as drifted no more often than it says.

Shapes: N = texts, C = classes.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats
from scipy.special import softmax

from pipeline.texts.tables import Split, Text

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
        labels=np.array([label for _, label in kept], dtype=np.int64),
    )


def measure_drift(
    before: Split,
    now: Split,
    *,
    classes: int,
    logits_before: np.ndarray,
    logits_now: np.ndarray,
    level: float,
) -> tuple[Drift, ...]:
    """Return every statistic with its test.

    Args:
        before: The champion's texts.
        now: The new ones, at least `MIN_TEXTS`.
        classes: Number of labels.
        logits_before: The champion's on texts of its time that it was not trained on, (N, C).
        logits_now: The champion's on the new texts, (N, C).
        level: Probability of any false alarm.
    """
    half = len(before) // 2
    vocabulary = {word for text in before.texts[:half] for word in _words(text)}
    mix_before = np.bincount(before.labels, minlength=classes)
    mix_now = np.bincount(now.labels, minlength=classes)
    found = [
        _two_samples("words a text", _lengths(before.texts), _lengths(now.texts)),
        # The second half of the old texts, because the vocabulary knows the first by heart.
        _two_samples(
            "part of unknown words",
            _unknown(before.texts[half:], vocabulary),
            _unknown(now.texts, vocabulary),
        ),
        ("part of the commonest label", *_label_mix(mix_before, mix_now)),
        _two_samples(
            "confidence of the champion", _confidence(logits_before), _confidence(logits_now)
        ),
    ]
    return tuple(
        Drift(
            name=name,
            before=mean_before,
            now=mean_now,
            test=test,
            p_value=p_value,
            drifted=p_value < level / len(found),
        )
        for name, mean_before, mean_now, test, p_value in found
    )


def _two_samples(
    name: str, before: np.ndarray, now: np.ndarray
) -> tuple[str, float, float, str, float]:
    p_value = float(stats.ks_2samp(before, now).pvalue)
    return name, float(before.mean()), float(now.mean()), "Kolmogorov-Smirnov", p_value


def _label_mix(before: np.ndarray, now: np.ndarray) -> tuple[float, float, str, float]:
    top = int(before.argmax())
    table = np.array([before, now])[:, before + now > 0]
    p_value = float(stats.chi2_contingency(table).pvalue) if table.shape[1] > 1 else 1.0
    return float(before[top] / before.sum()), float(now[top] / now.sum()), "chi-squared", p_value


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


def _confidence(logits: np.ndarray) -> np.ndarray:
    """Return the largest probability of each text, (N,)."""
    highest: np.ndarray = softmax(logits.astype(np.float64), axis=1).max(axis=1)
    return highest
