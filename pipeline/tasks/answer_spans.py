"""Answers of a question-answering source, as spans of their contexts.

Sources spell them as SQuAD does: the text of each answer, and its first character in the context. A
label holds two numbers per answer: its first character, and the character behind its last. A
context without an answer has -1 twice.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.config import DataConfig
from pipeline.errors import InputError
from pipeline.tasks.columns import (
    LABEL,
    TEXT,
    Column,
    Given,
    Proposal,
    UnfitError,
    find_label,
    named,
)
from pipeline.tasks.task import LabelColumn
from pipeline.texts.cells import FLAGS, Cell, Label
from pipeline.texts.nested import read_nested

NO_ANSWER: Label = (-1, -1)
SPAN_ENDS = ("start", "end")
"""Names of the two outputs of a token."""
QUESTION_AND_CONTEXT = ("question", "context")
"""Usual names of the text columns."""
_SAID = ("false", "true")
_FORMS = '{"text": ["..."], "answer_start": [0]}, or a list of {"text": "...", "answer_start": 0}'


@dataclass(frozen=True, slots=True)
class Question:
    """One question's context and answers."""

    context: str
    answers: tuple[str, ...]
    """Right answers to the question; none where the context has none."""


def as_questions(texts: Sequence[Sequence[str]], labels: np.ndarray) -> np.ndarray:
    """Return a `Question` for each text, (N,)."""
    questions = np.empty(len(texts), dtype=object)
    for row, ((_, context), spans) in enumerate(zip(texts, labels.tolist(), strict=True)):
        pairs = zip(spans[::2], spans[1::2], strict=True)
        questions[row] = Question(context, tuple(context[s:e] for s, e in pairs if s >= 0))
    return questions


def span_names(_config: DataConfig) -> tuple[str, ...]:
    """Return the names of a token's outputs."""
    return SPAN_ENDS


def propose_answers(columns: Sequence[Column], given: Given) -> Proposal:
    """Return how to read a table for answers to questions.

    Raises:
        UnfitError: where the columns are not certain.
    """
    if len(given.text) not in (0, 2):
        raise UnfitError(
            f"Expected two text columns, the question and its context, found --text "
            f"{len(given.text)} times."
        )
    label, assumed = find_label(
        columns,
        given,
        _holds_answers,
        "answers, such as text and answer_start",
        replace(LABEL, usual="answers"),
    )
    texts = given.text or QUESTION_AND_CONTEXT
    text = tuple(named(columns, name, TEXT).name for name in texts)
    said = () if given.text else (f"the question is in {text[0]!r}, its context in {text[1]!r}",)
    return Proposal(text=text, label=(label.name,), assumed=(*said, *assumed))


def _holds_answers(column: Column) -> bool:
    try:
        spelled = spell_answers(column.name, column.cells, "", str)
    except InputError:
        return False
    return any(each.startswith("[[") for each in spelled)


def spell_answers(
    name: str, cells: Sequence[Cell], source: str, place: Callable[[int], str]
) -> list[str]:
    """Return each cell as a JSON list of answers, [start, text] each; empty for an empty cell.

    Raises:
        InputError: for a cell without answers.
    """
    return [_spell(name, cell, source, place(row)) for row, cell in enumerate(cells)]


def _spell(name: str, cell: Cell, source: str, place: str) -> str:
    found = read_nested(cell)
    if found is None or (isinstance(found, str) and not found.strip()):
        return ""
    if not isinstance(found, list | dict | tuple):
        if (flag := FLAGS.get(str(found).strip().casefold())) is not None:
            return json.dumps(bool(flag))
        found = [None]
    if isinstance(found, dict) and {"text", "answer_start"} <= found.keys():
        columns = [found["text"], found["answer_start"]]
        if not any(isinstance(each, list) for each in columns):
            columns = [[each] for each in columns]
        if all(isinstance(each, list) for each in columns) and len({*map(len, columns)}) == 1:
            found = [
                dict(zip(("text", "answer_start"), pair, strict=True))
                for pair in zip(*columns, strict=True)
            ]
    answers = [_as_pair(each) for each in found] if isinstance(found, list) else [None]
    if None in answers:
        shown = cell if isinstance(cell, str) else repr(cell)
        raise InputError(
            f"{source}: the column {name!r} holds {shown[:60]} in {place}, expected answers such "
            f"as {_FORMS}. An empty list means that the context has no answer."
        )
    return json.dumps(answers, ensure_ascii=False)


def _as_pair(answer: object) -> tuple[int, str] | None:
    """Return first character and text of an answer; None where it is no answer."""
    if not isinstance(answer, dict):
        return None
    text, start = answer.get("text"), str(answer.get("answer_start")).removesuffix(".0")
    if not isinstance(text, str) or not text.strip() or not (start.isascii() and start.isdigit()):
        return None
    return int(start), text


def read_answers(columns: Sequence[LabelColumn], _config: DataConfig) -> list[list[Label | None]]:
    """Return the spans of every row of every source; None for an empty cell.

    A second column marks impossible questions, as in SQuAD v2.

    Raises:
        ValueError: for an answer that is not at its place in the context. Also for an impossible
            question with answers, and a possible one without.
    """
    return [[_read_row(column, row) for row in range(len(column.cells))] for column in columns]


def _read_row(column: LabelColumn, row: int) -> Label | None:
    if not column.cells[row]:
        return None
    place = f"{column.source}, {column.place(row)}"
    if column.cells[row] in _SAID:
        raise ValueError(
            f"{place} holds {column.cells[row]}, expected answers: {_FORMS}. In data.label, name "
            "the column of answers first, and the column of impossible questions second"
        )
    answers: list[tuple[int, str]] = [tuple(each) for each in json.loads(column.cells[row])]
    for other in column.others:
        said = other.cells[row]
        if said not in ("", *_SAID):
            raise ValueError(
                f"{place} holds {said[:60]}, expected true or false: is the question impossible"
            )
        if said not in ("", _SAID[not answers]):
            raise ValueError(
                f"{place}: is_impossible is {said}, and the question has {len(answers)} answers. "
                "Correct the row"
            )
    context = column.texts[row][1]
    spans = [_span(context, start, text, place) for start, text in answers]
    distinct = dict.fromkeys(spans)
    return tuple(end for span in distinct for end in span) if spans else NO_ANSWER


def _span(context: str, start: int, text: str, place: str) -> tuple[int, int]:
    """Return first character and end of an answer, without white space around it."""
    if context[start : start + len(text)] != text:
        near = context.find(text)
        found = f"it begins at {near}" if near >= 0 else "the context does not hold it"
        raise ValueError(
            f"{place}: the answer {text[:40]!r} is not at its answer_start {start}, where the "
            f"context has {context[start : start + len(text)][:40]!r}; {found}. Count characters, "
            "not bytes, from 0"
        )
    first = start + len(text) - len(text.lstrip())
    return first, first + len(text.strip())
