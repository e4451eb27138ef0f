import numpy as np
import pytest
import torch

from models.losses import token_kl
from pipeline.statistics.class_quality import measure_classes
from pipeline.tasks.entity_metrics import (
    ENTITY_FIDELITY,
    ENTITY_QUALITY,
    members_of_types,
    predicted_tags,
    wrong_entities,
)

NAMES = ("O", "B-person", "I-person", "B-place", "I-place")
OO, BP, IP, BL, IL = range(5)
NONE = -100


def readings_of(tags):
    """Return logits whose largest are these tags; NaN where there is no word."""
    tags = np.array(tags)
    logits = np.where(np.arange(5) == tags[..., None], 4.0, 0.0).astype(np.float32)
    logits[tags == NONE] = np.nan
    return logits


TAGS = np.array([[BP, IP, OO, BL, OO], [OO, BL, IL, BP, NONE], [OO, OO, NONE, NONE, NONE]])
# Right: person 0-2; a place a word too short; a person as a place; a place found in vain.
FOUND = [[BP, IP, OO, BL, OO], [OO, BL, OO, BL, NONE], [OO, BL, NONE, NONE, NONE]]


def test_entities_count_where_words_and_type_are_right():
    found = ENTITY_QUALITY(readings_of(FOUND), TAGS)

    # Two of five found are right, of four wanted: by hand, as seqeval does in strict mode.
    assert found["entity_precision"] == pytest.approx(2 / 5)
    assert found["entity_recall"] == pytest.approx(2 / 4)
    assert found["entity_f1"] == pytest.approx(2 * 2 / (5 + 4))
    assert found["word_accuracy"] == pytest.approx(8 / 11)


def test_entity_that_no_b_begins_is_none():
    found = ENTITY_QUALITY(readings_of([[IP, IP, OO, IL, OO]]), TAGS[:1])

    assert (found["entity_f1"], found["entity_precision"]) == (0.0, 0.0)


def test_word_without_logits_is_outside():
    readings = readings_of(TAGS)
    readings[0, 3] = np.nan

    assert predicted_tags(readings)[0].tolist() == [BP, IP, OO, OO, OO]
    assert ENTITY_QUALITY(readings, TAGS)["entity_recall"] == pytest.approx(3 / 4)


def test_tokens_without_a_label_stand_between_words_and_do_not_count():
    # As in training: the second token of the first word has no label, whatever is answered there.
    tags = np.array([[NONE, BP, NONE, IP, OO]])

    found = ENTITY_QUALITY(readings_of([[BL, BP, OO, IP, OO]]), tags)

    assert (found["entity_f1"], found["word_accuracy"]) == (1.0, 1.0)


def test_metrics_of_a_resample_are_those_of_its_texts():
    parts = ENTITY_QUALITY.contributions(readings_of(FOUND), TAGS)
    rows = np.array([1, 1, 0])

    found = ENTITY_QUALITY.summarise({name: part[rows] for name, part in parts.items()})

    assert found == ENTITY_QUALITY(readings_of(FOUND)[rows], TAGS[rows])


def test_texts_without_entities_are_right_where_none_is_found():
    assert ENTITY_QUALITY(readings_of([[OO, OO]]), np.array([[OO, OO]]))["entity_f1"] == 1.0


def test_closeness_is_none_of_a_model_to_itself():
    readings = readings_of(FOUND)

    assert ENTITY_FIDELITY(readings, readings) == {
        "entity_agreement": 1.0,
        "word_agreement": 1.0,
        "mean_kl": 0.0,
        "max_abs_logit_difference": 0.0,
    }


def test_agreement_takes_the_teachers_entities_as_truth():
    found = ENTITY_FIDELITY(readings_of(FOUND), readings_of(TAGS))

    assert found["entity_agreement"] == pytest.approx(4 / 9)
    assert found["word_agreement"] == pytest.approx(8 / 11)
    assert found["max_abs_logit_difference"] == 4.0


def test_divergence_is_what_distillation_lowers():
    generator = np.random.default_rng(0)
    student, teacher = generator.standard_normal((2, 3, 4, 5)).astype(np.float32)
    teacher[0, 2:] = student[0, 2:] = np.nan

    found = ENTITY_FIDELITY(student, teacher)["mean_kl"]

    loss = token_kl(torch.from_numpy(student), torch.from_numpy(teacher), 1.0)
    assert found == pytest.approx(loss.sum().item() / 10, rel=1e-5)


def test_error_of_a_text_is_its_missed_and_vain_entities():
    assert wrong_entities(readings_of(FOUND), TAGS).tolist() == [0.0, 4.0, 1.0]


def test_types_are_measured_by_their_entities():
    found = members_of_types(readings_of(TAGS), readings_of(FOUND), TAGS, NAMES)
    person, place = measure_classes(
        found.teacher, found.student, found.labels, found.names, confidence=0.95
    )

    assert (person.label, person.texts) == ("person", 2)
    assert (person.teacher_recall, person.student_recall, person.recall_lost) == (1.0, 0.5, 0.5)
    assert person.student_f1 == pytest.approx(2 / 3)
    assert (place.texts, place.student_recall) == (2, 0.5)
    assert place.student_f1 == pytest.approx(2 * 1 / (2 + 4))


def test_arrays_of_other_widths_are_those_of_the_same_texts():
    wide = np.concatenate([TAGS, np.full((3, 2), NONE)], axis=1)

    assert ENTITY_QUALITY(readings_of(FOUND), wide) == ENTITY_QUALITY(readings_of(FOUND), TAGS)
