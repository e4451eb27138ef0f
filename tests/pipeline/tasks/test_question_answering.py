import pickle

import numpy as np
import pytest

from pipeline.tasks.all_tasks import task_of_model
from pipeline.tasks.question_answering import QUESTION_ANSWERING as TASK

CONTEXT = "Ada wrote it, in 1843."
TEXT = ("Who?", CONTEXT)


def readings_of(*places, none=0.0, threshold=0.5):
    """Return readings of questions whose best span is one of these tokens, (first, behind)."""
    rows = [[(-1, threshold, none, none), (*place, 2, 2), (14, 16, 0, 0)] for place in places]
    return np.array(rows, dtype=np.float32)


def test_answer_is_a_span_with_its_characters_and_the_best_candidates():
    (answer,) = TASK.answers(readings_of((0, 3)), ("start", "end"), [TEXT])

    score = pytest.approx((np.exp(2) / (np.exp(2) + 2)) ** 2)
    best = {"answer": "Ada", "start": 0, "end": 3, "score": score}
    assert answer == best | {"candidates": answer["candidates"]}
    assert answer["candidates"][0] == best
    assert {each["answer"] for each in answer["candidates"]} == {"Ada", "Ada wrote it, in", "in"}
    assert TASK.answer_type.model_validate(answer).model_dump() == answer


def test_no_answer_is_empty_and_has_candidates():
    (answer,) = TASK.answers(readings_of((0, 3), none=9.0), ("start", "end"), [TEXT])

    assert (answer["answer"], answer["start"], answer["end"]) == ("", 0, 0)
    assert answer["score"] > 0.99
    assert answer["candidates"][0]["answer"] == "Ada"


def test_shipped_threshold_decides():
    unsure = readings_of((0, 3), none=2.5)  # sigmoid(5 - 4) is 0.73

    answers = [
        TASK.answers(TASK.readings(unsure, np.array([limit])), ("start", "end"), [TEXT])[0]
        for limit in (0.7, 0.8)
    ]

    assert [each["answer"] for each in answers] == ["", "Ada"]


def test_space_that_a_token_holds_is_no_part_of_the_answer():
    (answer,) = TASK.answers(readings_of((3, 9)), ("start", "end"), [TEXT])

    assert (answer["answer"], answer["start"], answer["end"]) == ("wrote", 4, 9)


def test_constant_answers_no_question():
    labels = np.array([[0, 3], [-1, -1]])

    found = TASK.metrics(TASK.constant(labels, 4), TASK.truth([TEXT] * 2, labels))

    assert found["f1"] == 0.5
    assert found["no_answer_accuracy"] == 1.0


def test_questions_are_counted_by_their_kind():
    labels = np.array([[0, 3, 17, 21], [-1, -1, -100, -100]])

    counts = TASK.labels.counts({"train": labels}, ())

    assert counts == {"train": {"answer": 1, "no answer": 1}}


def test_questions_without_any_answer_are_refused():
    assert TASK.labels.check([(-1, -1)], ()).startswith("holds no question with an answer")
    assert TASK.labels.check([(-1, -1), (0, 3)], ()) is None


def test_drift_sees_longer_answers_and_fewer_of_them():
    old, new = np.tile([[0, 3]], (100, 1)), np.tile([[0, 9]], (100, 1))
    new[:50] = -1

    shifts = TASK.shifts(
        old, new, readings_of(*[(0, 3)] * 100), readings_of(*[(0, 3)] * 100, none=1.5)
    )

    assert [each.name for each in shifts] == [
        "characters of an answer",
        "questions without an answer",
        "probability of the champion's answers",
    ]
    assert all(each.p_value < 1e-6 for each in shifts)


def test_packed_rows_are_unpacked_without_what_does_not_count():
    packed = np.array([[[0, 0.5, 2], [-100, np.nan, np.nan], [3, 1, 1]]])

    labels, outputs = TASK.unpack(packed)

    assert labels.tolist() == [[0, -100, 3]]
    assert np.isnan(outputs[..., 0]).tolist() == [[False, True, False]]


def test_model_says_its_task():
    assert task_of_model({"architectures": ["BertForQuestionAnswering"]}) is TASK


def test_task_travels_to_another_process():
    assert pickle.loads(pickle.dumps(TASK)) == TASK
