import pickle

import numpy as np
import pytest

from pipeline.tasks.all_tasks import task_of_model
from pipeline.tasks.token_classification import TOKEN_CLASSIFICATION as TASK

NAMES = ("O", "B-person", "I-person", "B-place", "I-place")


def readings_of(*texts):
    width = max(map(len, texts))
    readings = np.full((len(texts), width, 5), np.nan, dtype=np.float32)
    for row, tags in enumerate(texts):
        readings[row, : len(tags)] = np.where(np.arange(5) == np.array(tags)[:, None], 2.0, 0.0)
    return readings


def test_answer_is_the_entities_with_their_characters():
    texts = [("Ada Lovelace lived in London.",), ("Nobody.",)]

    first, second = TASK.answers(readings_of([1, 2, 0, 0, 3, 0], [0, 0]), NAMES, texts)

    score = pytest.approx(np.exp(2) / (np.exp(2) + 4))
    assert first["entities"] == [
        {"label": "person", "text": "Ada Lovelace", "start": 0, "end": 12, "score": score},
        {"label": "place", "text": "London", "start": 22, "end": 28, "score": score},
    ]
    assert second == {"entities": []}
    assert TASK.answer_type.model_validate(first).model_dump() == first


def test_packed_rows_are_unpacked_without_their_padding():
    packed = np.array([[[1, 0.5, 2], [-100, 1, 1]], [[0, 3, 4], [np.nan] * 3], [[-100] * 3] * 2])

    labels, outputs = TASK.unpack(packed)

    assert labels.tolist() == [[1, -100], [0, -100], [-100, -100]]
    assert np.isnan(outputs[..., 0]).tolist() == [[False, False], [False, True], [True, True]]
    assert outputs[0].tolist() == [[0.5, 2], [1, 1]]


def test_texts_are_drawn_by_their_rarest_type():
    labels = [(1, 2), (1, 0, 3), (0,), (1,), (3, 1)]

    assert TASK.labels.strata(labels) == [0, 1, -1, 0, 1]


def test_texts_without_any_entity_are_refused():
    assert TASK.labels.check([(0, 0), (0,)], NAMES).startswith("holds no entity")
    assert TASK.labels.check([(0, 0), (1,)], NAMES) is None


def test_entities_are_counted_by_type():
    tags = np.array([[1, 2, 0, 3], [1, 1, -100, -100]])

    assert TASK.labels.counts({"train": tags}, NAMES) == {"train": {"person": 3, "place": 1}}


def test_drift_sees_more_entities_and_other_types():
    old = np.tile([[0, 1, 0, -100]], (100, 1))
    new = np.tile([[3, 0, 3, 0]], (100, 1))

    shifts = TASK.shifts(old, new, readings_of(*[[0, 1, 0]] * 100), readings_of(*[[3, 0, 3]] * 100))

    assert [each.name for each in shifts] == [
        "part of the commonest label",
        "entities per text",
        "entities that the champion finds per text",
    ]
    assert all(each.p_value < 1e-6 for each in shifts)


def test_model_says_its_task():
    assert task_of_model({"architectures": ["BertForTokenClassification"]}) is TASK
    assert task_of_model({"architectures": ["BertModel"]}) is not TASK


def test_task_travels_to_another_process():
    assert pickle.loads(pickle.dumps(TASK)) == TASK
