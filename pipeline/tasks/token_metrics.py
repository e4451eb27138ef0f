"""Metrics of language models, by readings of each token; numpy alone.

Shapes: N = texts, T = tokens, V = size of the vocabulary, K = words of a reading; readings are
(N, T, R), see models/token_layout.py.
"""

import math

import numpy as np

from models.token_layout import (
    FOLLOWING,
    LIKELIEST,
    LOG_PROBABILITY,
    SIZE_BYTES,
    TAIL,
    WORDS,
    count_words,
    words_of,
)
from pipeline.facts.quality import Metrics
from pipeline.statistics.statistic import Contributions, Statistic

_LARGEST_EXPONENT = 700.0
"""Largest exponent whose exponential is still a finite float."""


def read_tokens(
    logits: np.ndarray,
    following: np.ndarray,
    words: np.ndarray | None,
    sizes: np.ndarray | None = None,
) -> np.ndarray:
    """Return the readings of a text's tokens, (T, R), as models/next_tokens.py makes them in torch.

    Args:
        logits: (T, V).
        following: (T,), ids of the tokens that follow.
        words: (T, K), ids of the words to read; None takes the likeliest.
        sizes: (T,), bytes of the tokens that follow; None without a text.
    """
    tokens, vocabulary = logits.shape
    if words is None:
        count = words_of(vocabulary)
        words = np.argpartition(logits, vocabulary - count, axis=1)[:, vocabulary - count :]
    largest = logits.max(axis=1, keepdims=True)
    parts = np.exp(logits - largest)
    total = np.log(parts.sum(axis=1, keepdims=True)) + largest  # (T, 1)
    np.put_along_axis(parts, words, 0.0, axis=1)
    rest = np.maximum(parts.sum(axis=1), np.finfo(np.float32).tiny)
    rows = np.empty((tokens, WORDS + 2 * words.shape[1]), dtype=np.float32)
    rows[:, FOLLOWING] = following
    rows[:, LOG_PROBABILITY] = logits[np.arange(tokens), following] - total[:, 0]
    rows[:, LIKELIEST] = logits.argmax(axis=1)
    rows[:, SIZE_BYTES] = 0.0 if sizes is None else sizes
    rows[:, TAIL] = np.log(rest) + largest[:, 0] - total[:, 0]
    rows[:, WORDS : WORDS + words.shape[1]] = words
    rows[:, WORDS + words.shape[1] :] = np.take_along_axis(logits, words, axis=1) - total
    return rows


def words_read(readings: np.ndarray) -> np.ndarray:
    """Return the ids of the words in readings (..., R), (..., K)."""
    count = count_words(readings.shape[-1])
    found: np.ndarray = readings[..., WORDS : WORDS + count].astype(np.int64)
    return found


def real_tokens(readings: np.ndarray) -> np.ndarray:
    """Return the mask of tokens that another token follows, (N, T); padding is NaN or below 0."""
    real: np.ndarray = readings[..., FOLLOWING] >= 0
    return real


def _quality_by_text(readings: np.ndarray, _labels: np.ndarray) -> Contributions:
    """Return each text's tokens, nats, right tokens and bytes, (N,)."""
    real = real_tokens(readings)
    right = real & (readings[..., LIKELIEST] == readings[..., FOLLOWING])
    return {
        "tokens": real.sum(axis=1),
        "nats": -_sum(readings[..., LOG_PROBABILITY], real),
        "right": right.sum(axis=1),
        "bytes": _sum(readings[..., SIZE_BYTES], real),
    }


def _summarise_quality(texts: Contributions) -> Metrics:
    """Return top-1 accuracy and perplexity per token, and per byte where sizes are known."""
    tokens, nats = max(1, int(texts["tokens"].sum())), float(texts["nats"].sum())
    size_bytes = float(texts["bytes"].sum())
    values = {
        "token_accuracy": float(texts["right"].sum() / tokens),
        "perplexity": _exponential(nats / tokens),
    }
    if size_bytes:
        values["perplexity_per_byte"] = _exponential(nats / size_bytes)
    return values


def _fidelity_by_text(student: np.ndarray, teacher: np.ndarray) -> Contributions:
    """Return each text's tokens, tokens with the same likeliest word, and divergence, (N,)."""
    width = min(student.shape[1], teacher.shape[1])
    student, teacher = student[:, :width], teacher[:, :width]
    real = real_tokens(student) & real_tokens(teacher)
    own, wanted = student[real], teacher[real]  # (M, R)
    if not np.array_equal(words_read(own), words_read(wanted)):
        raise ValueError("expected readings of the teacher's words: give them to the student's")
    divergence = np.zeros(real.shape)
    divergence[real] = _divergence(own, wanted)
    same = real & (student[..., LIKELIEST] == teacher[..., LIKELIEST])
    return {
        "tokens": real.sum(axis=1),
        "same": same.sum(axis=1),
        "kl": divergence.sum(axis=1),
        "largest": divergence.max(axis=1, initial=0.0),
    }


def _summarise_fidelity(texts: Contributions) -> Metrics:
    """Return agreement on the likeliest token, and mean and largest KL of tokens, in nats."""
    tokens = max(1, int(texts["tokens"].sum()))
    return {
        "token_agreement": float(texts["same"].sum() / tokens),
        "mean_kl": float(texts["kl"].sum() / tokens),
        "largest_kl": float(texts["largest"].max()),
    }


def _divergence(student: np.ndarray, teacher: np.ndarray) -> np.ndarray:
    """Return KL(teacher || student) over the words and tails of tokens, (M,), in nats."""
    first = WORDS + count_words(teacher.shape[1])
    own, wanted = (
        np.column_stack([each[:, TAIL], each[:, first:]]).astype(np.float64)
        for each in (student, teacher)
    )
    total = (np.exp(wanted) * (wanted - own)).sum(axis=1)
    divergence: np.ndarray = np.maximum(total, 0.0)  # rounding
    return divergence


def _sum(values: np.ndarray, real: np.ndarray) -> np.ndarray:
    total: np.ndarray = np.where(real, values, 0.0).astype(np.float64).sum(axis=1)
    return total


def _exponential(value: float) -> float:
    return math.exp(min(value, _LARGEST_EXPONENT))


TOKEN_QUALITY = Statistic(contributions=_quality_by_text, summarise=_summarise_quality)
"""Metrics of (readings, labels), which ignore the labels."""
TOKEN_FIDELITY = Statistic(contributions=_fidelity_by_text, summarise=_summarise_fidelity)
"""Closeness of (student's readings, teacher's readings)."""


def mean_nats(readings: np.ndarray, _labels: np.ndarray) -> np.ndarray:
    """Return each text's mean negative log-likelihood per token, (N,)."""
    parts = _quality_by_text(readings, _labels)
    nats: np.ndarray = parts["nats"] / np.maximum(parts["tokens"], 1)
    return nats


def commonest_token(_labels: np.ndarray, readings: np.ndarray) -> np.ndarray:
    """Return readings of a model that predicts every token by the tokens' frequencies."""
    real = real_tokens(readings)
    constant = readings.copy()
    following = readings[..., FOLLOWING][real].astype(np.int64)
    counts = np.bincount(following, minlength=1)
    constant[..., LOG_PROBABILITY][real] = np.log(counts[following] / max(1, len(following)))
    constant[..., LIKELIEST][real] = counts.argmax()
    return constant
