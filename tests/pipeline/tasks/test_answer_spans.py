import json

import numpy as np
import pytest

from pipeline.config import DataConfig
from pipeline.errors import InputError
from pipeline.tasks.answer_spans import NO_ANSWER, as_questions, read_answers, spell_answers
from pipeline.tasks.task import LabelColumn
from pipeline.texts.cells import Number

CONFIG = DataConfig(train="squad.json", text=("question", "context"), label="answers")
CONTEXT = "Ada wrote the first program, in 1843."


def place(row):
    return f"row {row + 1}"


def spell(cell):
    return spell_answers("answers", [cell], "squad.json", place)[0]


def read(cell, *, context=CONTEXT, impossible=None):
    columns = [[spell(cell)], *([[spell(impossible)]] if impossible is not None else [])]
    first, *others = (
        LabelColumn(cells=cells, source="squad.json", place=place, texts=[("Who?", context)])
        for cells in columns
    )
    column = LabelColumn(
        cells=first.cells, source=first.source, place=place, texts=first.texts, others=others
    )
    return read_answers([column], CONFIG)[0][0]


@pytest.mark.parametrize(
    "cell",
    [
        {"text": ["Ada"], "answer_start": [0]},
        {"text": ["Ada"], "answer_start": [Number(spelled="0")]},
        [{"text": "Ada", "answer_start": 0}],
        [{"text": "Ada", "answer_start": Number(spelled="0"), "answer_id": 3}],
        '{"text": ["Ada"], "answer_start": [0]}',
        "{'text': ['Ada'], 'answer_start': [0]}",  # as Python prints it
        {"text": "Ada", "answer_start": 0},
        {"text": ["Ada"], "answer_start": ["0"]},
        {"text": ["Ada"], "answer_start": [0.0]},
    ],
)
def test_every_spelling_of_answers_is_read(cell):
    assert read(cell) == (0, 3)


def test_answers_of_one_question_are_read_once_each():
    cell = {"text": ["1843", "in 1843", "1843"], "answer_start": [32, 29, 32]}

    assert read(cell) == (32, 36, 29, 36)


def test_white_space_around_an_answer_is_not_a_part_of_it():
    assert read([{"text": " 1843", "answer_start": 31}]) == (32, 36)


@pytest.mark.parametrize("cell", [[], {"text": [], "answer_start": []}, "[]"])
def test_no_answers_mean_that_there_is_none(cell):
    assert read(cell) == NO_ANSWER


@pytest.mark.parametrize("cell", [None, "", "  "])
def test_empty_cell_is_no_label(cell):
    assert read(cell) is None


@pytest.mark.parametrize(
    "cell",
    [
        "Ada",
        Number(spelled="3"),
        ["Ada"],
        {"text": ["Ada"]},
        {"text": ["Ada", "Ada"], "answer_start": [0]},
        [{"text": "Ada", "answer_start": -1}],
        [{"text": "Ada", "answer_start": Number(spelled="0.5")}],
        [{"text": "", "answer_start": 0}],
        [{"text": "Ada", "answer_start": True}],
        {"text": "Ada", "answer_start": [0]},
        "{'text': array(['Ada'], dtype=object), 'answer_start': array([0])}",
    ],
)
def test_what_is_no_answer_is_refused_with_its_place(cell):
    with pytest.raises(
        InputError, match=r"squad\.json: the column 'answers' .* in row 1, expected"
    ):
        spell(cell)


@pytest.mark.parametrize(
    ("answer", "start", "found"),
    [
        ("1843", 31, "it begins at 32"),
        ("1844", 32, "the context does not hold it"),
        ("1843", 4000, "it begins at 32"),
    ],
)
def test_answer_that_is_not_at_its_offset_is_refused(answer, start, found):
    with pytest.raises(ValueError, match=rf"squad\.json, row 1: the answer '{answer}' .*{found}"):
        read([{"text": answer, "answer_start": start}])


def test_offsets_count_characters_and_not_bytes():
    context = "Zoë café \N{GRINNING FACE} 1843"

    assert read([{"text": "1843", "answer_start": 11}], context=context) == (11, 15)


@pytest.mark.parametrize("yes", [True, "True", "true", "1", Number(spelled="1.0")])
def test_every_spelling_of_impossible_is_read(yes):
    assert read([], impossible=yes) == NO_ANSWER
    with pytest.raises(ValueError, match="is_impossible is true, and the question has 1"):
        read([{"text": "Ada", "answer_start": 0}], impossible=yes)


def test_columns_that_are_swapped_are_refused():
    with pytest.raises(ValueError, match=r"row 1 holds true, expected answers.*second"):
        read(True)
    with pytest.raises(ValueError, match="expected true or false: is the question"):
        read([], impossible=[])


def test_question_is_impossible_where_it_has_no_answer_alone():
    assert read([], impossible="true") == NO_ANSWER
    assert read([{"text": "Ada", "answer_start": 0}], impossible="false") == (0, 3)
    with pytest.raises(ValueError, match="is_impossible is false, and the question has 0 answers"):
        read([], impossible="false")
    with pytest.raises(ValueError, match="is_impossible is true, and the question has 1 answers"):
        read([{"text": "Ada", "answer_start": 0}], impossible="true")


def test_questions_hold_the_answers_characters():
    labels = np.array([[0, 3, 32, 36], [-1, -1, -100, -100]])

    first, second = as_questions([("Who?", CONTEXT)] * 2, labels)

    assert (first.context, first.answers) == (CONTEXT, ("Ada", "1843"))
    assert second.answers == ()


def test_spelling_is_a_json_list_of_starts_and_texts():
    assert json.loads(spell({"text": ["Ada"], "answer_start": [0]})) == [[0, "Ada"]]
