"""Answers decoded from readings, their quality as SQuAD measures it, and closeness of two models.

Exact match and F1 compare normalised texts: lower case, without punctuation, articles and repeated
white space (Rajpurkar et al., 2016, https://arxiv.org/abs/1606.05250). The best of several right
answers counts. "No answer" is right only for a question that has none.

A span's score is the sum of its ends' logits. The score of "no answer" is the sum of the first
token's logits, least over all windows (Devlin et al., 2019, section 4.3). Let s be the score of "no
answer" minus that of the best span. There is no answer where sigmoid(s) is above the threshold, and
always one at a threshold of 1. The validation split chooses the threshold, which ships.

Shapes: N = texts, P = tokens that count; readings are (N, P, 4), see passages.py.
"""

import re
import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.facts.quality import Metrics
from pipeline.statistics.statistic import Contributions, Statistic
from pipeline.tasks.answer_spans import Question
from pipeline.tasks.class_metrics import kl_per_example, softmax_rows
from pipeline.tasks.passages import BEGINS, BEHIND, ENDS, FIRST, windows_of
from pipeline.tasks.set_metrics import DEFAULT_THRESHOLD, sigmoid

LONGEST_ANSWER = 64
"""Length of the longest answer that is searched for, in tokens."""
ALWAYS = 1.0
"""Threshold at which every question is answered."""
_CANDIDATES = 5
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True, kw_only=True, slots=True)
class AnswerSpan:
    """A span of a context."""

    first: int
    """Position of the span's first character in the context."""
    behind: int
    """Position of the character behind the span's last."""
    score: float
    """Sum of the logits of the span's ends."""
    probability: float
    """Product of the probabilities of the span's ends, in its window."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Decoded:
    """Answer of a model to one question, with the best spans."""

    spans: tuple[AnswerSpan, ...]
    """Best spans of the context, the best one first."""
    none: float
    """Preference of "no answer" over the best span, from 0 to 1."""
    none_probability: float
    """Probability of "no answer" in its window."""
    threshold: float

    @property
    def span(self) -> AnswerSpan | None:
        """Return the span of the answer; None for "no answer"."""
        return None if self.none > self.threshold else self.spans[0]

    @property
    def answer_probability(self) -> float:
        """Return the probability of the answer, or of "no answer"."""
        return self.none_probability if self.span is None else self.span.probability


def find_answers(readings: np.ndarray) -> list[Decoded]:
    """Return a model's answer to each question, decoded from its readings."""
    return [_decode(row) for row in readings]


def _decode(readings: np.ndarray) -> Decoded:
    spans: dict[tuple[int, int], AnswerSpan] = {}
    least, none_probability, threshold = np.inf, 1.0, DEFAULT_THRESHOLD
    for window in windows_of(readings):
        begins, ends = (softmax_rows(window[None, :, c].astype(np.float64))[0] for c in (2, 3))
        score = float(window[0, BEGINS] + window[0, ENDS])
        threshold = float(window[0, BEHIND])
        if score < least:
            least, none_probability = score, float(begins[0] * ends[0])
        for first, last, total in _best_spans(window):
            key = int(window[first, FIRST]), int(window[last, BEHIND])
            if key not in spans or spans[key].score < total:
                probability = float(begins[first] * ends[last])
                spans[key] = AnswerSpan(
                    first=key[0], behind=key[1], score=total, probability=probability
                )
    best = sorted(spans.values(), key=lambda span: -span.score)[:_CANDIDATES]
    none = float(sigmoid(np.array(least - best[0].score))) if best else np.inf
    return Decoded(
        spans=tuple(best), none=none, none_probability=none_probability, threshold=threshold
    )


def _best_spans(window: np.ndarray) -> list[tuple[int, int, float]]:
    """Return the best spans of a window, as rows of their ends, and the scores."""
    tokens = len(window) - 1
    if not tokens:
        return []
    begins, ends = window[1:, BEGINS].astype(np.float64), window[1:, ENDS].astype(np.float64)
    longest = min(LONGEST_ANSWER, tokens)
    padded = np.append(ends, np.full(longest - 1, -np.inf))
    scores = begins[:, None] + np.lib.stride_tricks.sliding_window_view(padded, longest)
    count = min(_CANDIDATES, scores.size)
    found = np.argpartition(scores, scores.size - count, axis=None)[-count:]
    rows = zip(found // longest, found % longest, scores.ravel()[found], strict=True)
    return [
        (1 + int(first), 1 + int(first + more), float(score))
        for first, more, score in rows
        if score > -np.inf
    ]


def normalise(answer: str) -> list[str]:
    """Return the words of an answer as SQuAD compares them."""
    return _ARTICLES.sub(" ", answer.lower().translate(_PUNCTUATION)).split()


def compare_answers(answer: str, right: Sequence[str]) -> tuple[float, float]:
    """Return exact match and F1 of an answer, the best over the right ones; "" is no answer."""
    words = normalise(answer)
    wanted = [each for each in map(normalise, right) if each] or [[]]
    return float(words in wanted), max(_f1(words, each) for each in wanted)


def _f1(found: Sequence[str], wanted: Sequence[str]) -> float:
    if not found or not wanted:
        return float(found == wanted)
    return 2 * (Counter(found) & Counter(wanted)).total() / (len(found) + len(wanted))


def characters_of(decoded: Sequence[Decoded], questions: np.ndarray) -> list[str]:
    """Return the characters of the answers, empty for "no answer"."""
    return [
        "" if each.span is None else question.context[each.span.first : each.span.behind]
        for each, question in zip(decoded, questions, strict=True)
    ]


def _compare_all(answers: Sequence[str], questions: np.ndarray) -> np.ndarray:
    """Return exact match and F1 of every answer, (N, 2)."""
    pairs = zip(answers, questions, strict=True)
    return np.array([compare_answers(a, q.answers) for a, q in pairs]).reshape(-1, 2)


def _quality_by_text(readings: np.ndarray, questions: np.ndarray) -> Contributions:
    """Return each answer's exact match, F1 and whether its question has an answer, (N,) each."""
    exact, f1 = _compare_all(characters_of(find_answers(readings), questions), questions).T
    has_answer = _have_answers(questions)
    mixed = has_answer.any() and not has_answer.all()
    return {
        "exact": exact,
        "f1": f1,
        "has_answer": has_answer,
        "mixed": np.full(len(questions), mixed),
    }


def _have_answers(questions: Sequence[Question] | np.ndarray) -> np.ndarray:
    return np.array([bool(each.answers) for each in questions], dtype=bool)


def _summarise_quality(texts: Contributions) -> Metrics:
    """Return F1 and exact match, also for questions with and without answers if both occur."""
    found = {"f1": float(texts["f1"].mean()), "exact_match": float(texts["exact"].mean())}
    if not texts["mixed"].any():
        return found
    has = texts["has_answer"]
    return found | {
        "has_answer_f1": _mean(texts["f1"], has),
        "has_answer_exact_match": _mean(texts["exact"], has),
        "no_answer_accuracy": _mean(texts["exact"], ~has),
    }


def _mean(values: np.ndarray, rows: np.ndarray) -> float:
    return float(values[rows].sum() / max(1, int(rows.sum())))


def _fidelity_by_text(student: np.ndarray, teacher: np.ndarray) -> Contributions:
    """Return per text whether both models answer alike, and the divergence of its windows."""
    wanted = find_answers(teacher)
    same = [
        _place(own) == _place(other)
        for own, other in zip(find_answers(student), wanted, strict=True)
    ]
    divergences, windows, largest = [], [], []
    for own, other in zip(student, teacher, strict=True):
        pairs = list(zip(windows_of(own), windows_of(other), strict=True))
        divergences.append(sum(_divergence(*pair) for pair in pairs))
        windows.append(len(pairs))
        largest.append(max(float(np.abs(a[:, 2:] - b[:, 2:]).max()) for a, b in pairs))
    return {
        "same": np.array(same),
        "sure": np.array([each.answer_probability for each in wanted]),
        "kl": np.array(divergences),
        "windows": np.array(windows),
        "largest": np.array(largest),
    }


def _place(answer: Decoded) -> tuple[int, int] | None:
    return None if answer.span is None else (answer.span.first, answer.span.behind)


def _divergence(student: np.ndarray, teacher: np.ndarray) -> float:
    """Return KL(teacher || student) of a window, averaged over both ends, in nats."""
    own, other = student[:, 2:].T.astype(np.float64), teacher[:, 2:].T.astype(np.float64)
    return float(kl_per_example(own, other).mean())


def _summarise_fidelity(texts: Contributions) -> Metrics:
    """Return the share of the questions with the same answer, and the mean KL, in nats.

    The sure agreement weighs each question by the teacher's probability of its own answer. Where
    several answers are nearly equally likely, chance decides between them.
    """
    sure = texts["sure"]
    return {
        "span_agreement": float(texts["same"].mean()),
        "sure_agreement": float((texts["same"] * sure).sum() / max(1e-12, sure.sum())),
        "mean_kl": float(texts["kl"].sum() / max(1, int(texts["windows"].sum()))),
        "max_abs_logit_difference": float(texts["largest"].max()),
    }


SPAN_QUALITY = Statistic(contributions=_quality_by_text, summarise=_summarise_quality)
"""Metrics of (readings, questions)."""
SPAN_FIDELITY = Statistic(contributions=_fidelity_by_text, summarise=_summarise_fidelity)
"""Closeness of (student's readings, teacher's readings)."""


def answer_errors(readings: np.ndarray, questions: np.ndarray) -> np.ndarray:
    """Return one minus the F1 of each answer, (N,)."""
    errors: np.ndarray = (
        1 - _compare_all(characters_of(find_answers(readings), questions), questions)[:, 1]
    )
    return errors


def choose_threshold(readings: np.ndarray, questions: np.ndarray) -> np.ndarray:
    """Return the threshold of "no answer" with the highest F1, (1,).

    Where every question has an answer, it is the one at which all are answered. Among equally good
    thresholds, it is the one nearest to one half.
    """
    has_answer = _have_answers(questions)
    if has_answer.all():
        return np.array([ALWAYS])
    decoded = find_answers(readings)
    best = [
        question.context[each.spans[0].first : each.spans[0].behind] if each.spans else ""
        for each, question in zip(decoded, questions, strict=True)
    ]
    f1 = _compare_all(best, questions)[:, 1]
    none = np.minimum(1.0, [each.none for each in decoded])
    order = np.argsort(none, kind="stable")
    # F1 with 0, 1, ... N questions answered, beginning where "no answer" is preferred least.
    answered = np.append(0.0, np.cumsum(f1[order]))
    left = np.append(np.cumsum(~has_answer[order][::-1])[::-1], 0)
    edges = np.concatenate([[0.0], none[order], [ALWAYS]])
    thresholds = (edges[:-1] + edges[1:]) / 2
    thresholds[-1] = ALWAYS
    parts = np.append(edges[:-2] < edges[1:-1], True)  # no threshold separates equal ones
    totals = np.where(parts, answered + left, -1.0)
    highest = np.flatnonzero(totals >= totals.max() - 1e-9)
    nearest = highest[np.abs(thresholds[highest] - DEFAULT_THRESHOLD).argmin()]
    return np.array([thresholds[nearest]])
