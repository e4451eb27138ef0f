import pickle

import numpy as np
import pytest

from pipeline.config import DataConfig
from pipeline.tasks.all_tasks import task_of_model
from pipeline.tasks.multi_label import MULTI_LABEL
from pipeline.tasks.set_metrics import attach_thresholds

NAMES = ("joy", "anger", "fear")


def test_answer_is_every_label_over_its_threshold_the_most_probable_first():
    readings = attach_thresholds(np.array([[0.0, 1.0, 3.0]]), np.array([0.4, 0.9, 0.9]))

    (answer,) = MULTI_LABEL.answers(readings, NAMES)

    assert answer["labels"] == ["fear", "joy"]
    assert answer["scores"] == pytest.approx(
        {"joy": 0.5, "anger": 0.7311, "fear": 0.9526}, abs=1e-4
    )
    assert MULTI_LABEL.answer_type.model_validate(answer).model_dump() == answer


def test_no_label_is_an_answer():
    (answer,) = MULTI_LABEL.answers(np.full((1, 3), -5.0), NAMES)

    assert answer["labels"] == []


def test_packed_targets_are_labels_and_outputs():
    labels, outputs = np.array([[1, 0, 1]]), np.array([[0.5, -1.0, 2.0]])

    packed = MULTI_LABEL.pack(labels, outputs)

    assert packed.dtype == np.float32
    found, said = MULTI_LABEL.unpack(packed)
    assert (found.tolist(), said.tolist()) == (labels.tolist(), outputs.tolist())


def test_texts_are_drawn_by_their_rarest_label():
    labels = [(1, 0, 0), (1, 1, 0), (1, 1, 1), (0, 0, 0)]

    assert MULTI_LABEL.labels.strata(labels) == [0, 1, 2, -1]


def test_one_set_for_all_texts_is_refused():
    check = MULTI_LABEL.labels.check

    assert check([(1, 0), (1, 0)], NAMES).startswith("gives all texts the same labels")
    assert check([(1, 0), (0, 0)], NAMES) is None


def test_texts_are_counted_by_label():
    counts = MULTI_LABEL.labels.counts({"train": np.array([[1, 0, 1], [1, 0, 0]])}, NAMES)

    assert counts == {"train": {"joy": 2, "anger": 0, "fear": 1}}


def test_drift_sees_other_labels_and_more_of_them():
    rng = np.random.default_rng(0)
    old, new = rng.random((300, 3)) < 0.2, rng.random((300, 3)) < [0.2, 0.8, 0.2]

    shifts = MULTI_LABEL.shifts(old * 1, new * 1, old * 2.0 - 1, new * 2.0 - 1)

    assert len(shifts) == 3
    assert all(each.p_value < 1e-6 for each in shifts)
    same = MULTI_LABEL.shifts(old, old, old * 2 - 1, old * 2 - 1)
    assert all(each.p_value > 0.9 for each in same)


def test_members_of_labels_are_those_at_the_thresholds():
    labels = np.array([[1, 0], [1, 1], [0, 1], [0, 0]])
    teacher = attach_thresholds(np.where(labels, 1.0, -1.0), np.array([0.5, 0.5]))
    student = attach_thresholds(np.where(labels, 1.0, -1.0), np.array([0.5, 0.9]))

    found = MULTI_LABEL.members(teacher, student, labels, NAMES[:2])

    assert found.names == NAMES[:2]
    assert found.labels.tolist() == found.teacher.tolist() == (labels == 1).tolist()
    assert found.student.tolist() == [[True, False], [True, False], [False, False], [False, False]]


def test_best_constant_answer_has_the_highest_f1():
    labels = np.array([[1, 1, 0]] * 6 + [[1, 0, 0]] * 3 + [[0, 0, 1]])

    readings = MULTI_LABEL.constant(labels, np.zeros((len(labels), 3)))

    found = MULTI_LABEL.metrics(readings, labels)["micro_f1"]

    sets = [np.tile(2.0 * np.array(flags) - 1, (10, 1)) for flags in np.ndindex(2, 2, 2)]
    assert found == max(MULTI_LABEL.metrics(each, labels)["micro_f1"] for each in sets)


def test_model_says_its_task():
    assert task_of_model({"problem_type": "multi_label_classification"}) is MULTI_LABEL


def test_task_travels_to_another_process():
    assert pickle.loads(pickle.dumps(MULTI_LABEL)) == MULTI_LABEL


def test_names_are_those_of_the_config_or_of_the_columns():
    names = MULTI_LABEL.labels.names

    assert names(DataConfig(train="t.csv", labels=NAMES)) == NAMES
    assert names(DataConfig(train="t.csv", label=NAMES)) == NAMES
