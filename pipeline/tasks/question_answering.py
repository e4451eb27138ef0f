"""Question answering: the span of a context that answers a question, or "no answer".

A text is a question and its context. The hard loss is cross-entropy of the answer's first and last
token. The soft loss is T² KL of both. Both are over the context's tokens and the first token of the
input, which stands for "no answer". Long contexts are read in windows, each beside the whole
question. The teacher's outputs on the validation split choose the threshold of "no answer", which
ships with the student.

Shapes: N = texts, P = tokens that count; readings are (N, P, 4), see passages.py.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from pipeline.config import GateConfig
from pipeline.decisions.check import Check
from pipeline.decisions.quality import (
    agreement,
    gained,
    least_quality,
    quality_lost,
    unsure_gain,
)
from pipeline.facts.quality import EvaluateFacts
from pipeline.tasks.answer_spans import (
    as_questions,
    propose_answers,
    read_answers,
    span_names,
    spell_answers,
)
from pipeline.tasks.passages import (
    NO_CHARACTER,
    SPAN_LAYOUT,
    attach_threshold,
)
from pipeline.tasks.set_metrics import DEFAULT_THRESHOLD
from pipeline.tasks.span_metrics import (
    SPAN_FIDELITY,
    SPAN_QUALITY,
    AnswerSpan,
    answer_errors,
    choose_threshold,
    find_answers,
)
from pipeline.tasks.task import Labels, Shift, Task, Thresholds, Words
from pipeline.texts.cells import Cell, Label, read_texts_of

if TYPE_CHECKING:
    from models.losses import Objective

_CONSTANT = "no answer to any question"
_NO_ANSWER = "no_answer"
"""Name of the threshold of "no answer"."""


class CandidateAnswer(BaseModel):
    """One of the best spans of a context."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    answer: str
    """Characters of the span."""
    start: int
    """Position of the span's first character in the context."""
    end: int
    """Position of the character behind the span's last."""
    score: float
    """Probability of the span's first token times that of its last."""


class SpanAnswer(CandidateAnswer):
    """The answer to one question: empty, and 0 to 0, where the context has none."""

    candidates: list[CandidateAnswer]
    """Best spans of the context, even where the answer is "no answer"."""


def span_answers(
    readings: np.ndarray, _names: Sequence[str], texts: Sequence[Sequence[str]]
) -> list[dict[str, Any]]:
    """Return the answer to each question, and the best spans."""
    answers = []
    for decoded, (_, context) in zip(find_answers(readings), texts, strict=True):
        candidates = [_as_answer(span, context) for span in decoded.spans]
        none = {"answer": "", "start": 0, "end": 0, "score": decoded.none_probability}
        answer = none if decoded.span is None else candidates[0]
        answers.append({**answer, "candidates": candidates})
    return answers


def _as_answer(span: AnswerSpan, context: str) -> dict[str, Any]:
    text = context[span.first : span.behind]
    start = span.first + len(text) - len(text.lstrip())  # some tokens include the space before them
    return {
        "answer": text.strip(),
        "start": start,
        "end": start + len(text.strip()),
        "score": span.probability,
    }


def _checks(evaluation: EvaluateFacts, config: GateConfig) -> tuple[Check, ...]:
    return (
        quality_lost(evaluation, config, "f1"),
        agreement(
            evaluation,
            config,
            "span_agreement",
            "Student and teacher give {} of the test questions the same answer",
        ),
        *gained(evaluation, config, "f1", _CONSTANT),
        *least_quality(evaluation, config, "f1"),
    )


def _warnings(evaluation: EvaluateFacts, _config: GateConfig) -> tuple[str, ...]:
    return unsure_gain(evaluation, "f1", _CONSTANT)


def _texts_as_they_are(name: str, cells: Sequence[Cell], source: str, place: Any) -> list[str]:
    """Return the cells of a text column with their white space, which answers' positions count."""
    read_texts_of(name, cells, source, place)  # or refuse
    return [cell.decode("utf-8") if isinstance(cell, bytes) else str(cell or "") for cell in cells]


def _context_of(text: Sequence[str]) -> str:
    return text[1]


def _has_answer(label: Label) -> bool:
    return isinstance(label, tuple) and label[0] != NO_CHARACTER


def _strata(labels: Sequence[Label]) -> list[int]:
    return [int(_has_answer(label)) for label in labels]


def _check_labels(labels: Sequence[Label], _names: Sequence[str]) -> str | None:
    if any(map(_has_answer, labels)):
        return None
    return "holds no question with an answer. Some are needed: check data.label and the source"


def _count_labels(
    splits: Mapping[str, np.ndarray], _names: Sequence[str]
) -> dict[str, dict[str, int]]:
    counts = {name: int((labels[:, 0] != NO_CHARACTER).sum()) for name, labels in splits.items()}
    return {
        name: {"answer": counts[name], "no answer": len(labels) - counts[name]}
        for name, labels in splits.items()
    }


def _no_answers(labels: np.ndarray, _readings: np.ndarray) -> np.ndarray:
    """Return readings of a model that is certain of "no answer" to every question, (N, 1, 4)."""
    row = np.array([NO_CHARACTER, DEFAULT_THRESHOLD, 10.0, 10.0], dtype=np.float32)
    return np.tile(row, (len(labels), 1, 1))


def _shifts(
    old: np.ndarray, new: np.ndarray, readings_old: np.ndarray, readings_new: np.ndarray
) -> list[Shift]:
    from pipeline.statistics.two_samples import two_samples

    found: list[Shift] = []
    lengths = [(each[:, 1] - each[:, 0])[each[:, 0] != NO_CHARACTER] for each in (old, new)]
    if all(map(len, lengths)):
        found.append(Shift(name="characters of an answer", **two_samples(*lengths)))
    without = [(each[:, 0] == NO_CHARACTER).astype(np.float64) for each in (old, new)]
    answered = [find_answers(each) for each in (readings_old, readings_new)]
    sure = [np.array([decoded.answer_probability for decoded in each]) for each in answered]
    return [
        *found,
        Shift(name="questions without an answer", **two_samples(*without)),
        Shift(name="probability of the champion's answers", **two_samples(*sure)),
    ]


def _threshold_names(_outputs: Sequence[str]) -> Sequence[str]:
    return (_NO_ANSWER,)


def _objective() -> "Objective":
    from models.losses import SPAN_OBJECTIVE

    return SPAN_OBJECTIVE


def _agrees(agreement: float) -> str:
    return f"gives {agreement:.1%} of the questions the same answer as its teacher"


QUESTION_ANSWERING = Task(
    name="question-answering",
    labels=Labels(
        dtype=np.int32,
        names=span_names,
        read=read_answers,
        check=_check_labels,
        strata=_strata,
        counts=_count_labels,
        spell=spell_answers,
        texts=_texts_as_they_are,
        propose=propose_answers,
        together=_context_of,
    ),
    words=Words(
        loss="cross-entropy of an answer's ends, nats",
        distance="KL to the teacher per window (nats)",
        agreement="questions with the teacher's answer",
        agrees=_agrees,
        constant=_CONSTANT,
        model="question answerer with the outputs",
        intended_use="to find the answers to questions in contexts like those of its test split "
        "(source below).",
        limits=(
            "It answers with characters of the context alone.",
            "If every question of the data had an answer, it always gives one.",
        ),
        hub_task="question-answering",
        hub_metrics={"f1": "f1", "exact_match": "exact_match"},
        example='--pairs "a question" "a context"',
        line=("answer", "score", "text"),
        hub_call=None,
    ),
    objective=_objective,
    main_metric="f1",
    agreement="span_agreement",
    distance="mean_kl",
    metrics=SPAN_QUALITY,
    fidelity=SPAN_FIDELITY,
    errors=answer_errors,
    constant=_no_answers,
    members=None,
    checks=_checks,
    warnings=_warnings,
    shifts=_shifts,
    answers=span_answers,
    answer_type=SpanAnswer,
    hub_head="question_answering",
    thresholds=Thresholds(choose=choose_threshold, attach=attach_threshold, names=_threshold_names),
    model_suffix="ForQuestionAnswering",
    layout=SPAN_LAYOUT,
    reference=as_questions,
)
"""The span of a context that answers a question."""
