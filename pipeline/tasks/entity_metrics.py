"""Metrics of entities in texts: strict F1, by type, and closeness of two models; numpy alone.

An entity counts if its first word, its last word and its type are right. seqeval counts the same in
its strict mode for IOB2. A word without logits is outside of all entities. No token begins in such
a word, or it is beyond the model's longest input. Tags behind a text's last word are -100.

Shapes: N = texts, W = words (or tokens), C = tags, E = types; readings are (N, W, C).
"""

from collections.abc import Iterator, Sequence

import numpy as np

from pipeline.facts.quality import Metrics
from pipeline.statistics.statistic import Contributions, Statistic
from pipeline.tasks.class_metrics import kl_per_example
from pipeline.tasks.tags import Entity, entity_types, find_entities
from pipeline.tasks.task import ClassMembers
from pipeline.texts.cells import MISSING_LABEL


def predicted_tags(readings: np.ndarray) -> np.ndarray:
    """Return the tag of every word, (N, W): 0, which is O, for a word without logits."""
    missing = np.isnan(readings[..., 0])
    tags: np.ndarray = np.where(missing[..., None], 0.0, readings).argmax(axis=-1)
    return np.where(missing, 0, tags)


def entities_of(tags: np.ndarray, words: np.ndarray) -> Iterator[set[Entity]]:
    """Yield the entities of each text, from its tags (N, W) and the mask of its words (N, W)."""
    for row, counts in zip(tags, words, strict=True):
        yield set(find_entities(row[counts].tolist()))


def _quality_by_text(readings: np.ndarray, tags: np.ndarray) -> Contributions:
    """Return each text's entities by type (found, wanted, right) and its right words.

    Returns:
        entities: (N, 3, E).
        words, right: (N,), the number of words, and of those with the right tag.
    """
    width = min(tags.shape[1], readings.shape[1])
    tags, readings = tags[:, :width], readings[:, :width]
    words, predicted = tags != MISSING_LABEL, predicted_tags(readings)
    return {
        "entities": _counted(entities_of(predicted, words), entities_of(tags, words), readings),
        "words": words.sum(axis=1),
        "right": ((predicted == tags) & words).sum(axis=1),
    }


def _counted(
    found: Iterator[set[Entity]], wanted: Iterator[set[Entity]], readings: np.ndarray
) -> np.ndarray:
    """Return the number of entities of each type that are found, wanted and both, (N, 3, E)."""
    counts = np.zeros((len(readings), 3, readings.shape[2] // 2), dtype=np.int64)
    for row, (own, other) in enumerate(zip(found, wanted, strict=True)):
        for kind, entities in enumerate((own, other, own & other)):
            for _, _, number in entities:
                counts[row, kind, number] += 1
    return counts


def _summarise_quality(texts: Contributions) -> Metrics:
    """Return F1, precision and recall of entities of all types together, and accuracy of words."""
    found, wanted, right = texts["entities"].sum(axis=(0, 2))
    return {
        "entity_f1": _f1(found, wanted, right),
        "entity_precision": float(right / max(1, found)),
        "entity_recall": float(right / max(1, wanted)),
        "word_accuracy": float(texts["right"].sum() / max(1, texts["words"].sum())),
    }


def _f1(found: int, wanted: int, right: int) -> float:
    """Return F1, which is 1 where nothing is wanted and nothing found."""
    return float(2 * right / (found + wanted)) if found + wanted else 1.0


def _fidelity_by_text(student: np.ndarray, teacher: np.ndarray) -> Contributions:
    """Return each text's agreement by words and by entities, and its divergence.

    Returns:
        entities: (N, 3), the student's, the teacher's, and those of both.
        words, same, kl, largest: (N,).
    """
    width = min(student.shape[1], teacher.shape[1])
    student, teacher = student[:, :width], teacher[:, :width]
    words = ~(np.isnan(student[..., 0]) | np.isnan(teacher[..., 0]))
    own, other = predicted_tags(student), predicted_tags(teacher)
    divergence, largest = np.zeros(words.shape), np.zeros(words.shape)
    divergence[words] = kl_per_example(student[words], teacher[words])
    largest[words] = np.abs(student[words] - teacher[words]).max(axis=1)
    counts = _counted(entities_of(own, words), entities_of(other, words), student)
    return {
        "entities": counts.sum(axis=2),
        "words": words.sum(axis=1),
        "same": ((own == other) & words).sum(axis=1),
        "kl": divergence.sum(axis=1),
        "largest": largest.max(axis=1, initial=0.0),
    }


def _summarise_fidelity(texts: Contributions) -> Metrics:
    """Return F1 with the teacher's entities as truth, agreement and mean KL of words, in nats."""
    words = max(1, int(texts["words"].sum()))
    return {
        "entity_agreement": _f1(*texts["entities"].sum(axis=0)),
        "word_agreement": float(texts["same"].sum() / words),
        "mean_kl": float(texts["kl"].sum() / words),
        "max_abs_logit_difference": float(texts["largest"].max()),
    }


ENTITY_QUALITY = Statistic(contributions=_quality_by_text, summarise=_summarise_quality)
"""Metrics of (readings, tags)."""
ENTITY_FIDELITY = Statistic(contributions=_fidelity_by_text, summarise=_summarise_fidelity)
"""Closeness of (student's readings, teacher's readings)."""


def wrong_entities(readings: np.ndarray, tags: np.ndarray) -> np.ndarray:
    """Return the number of entities of each text that are missed or wrongly found, (N,)."""
    found, wanted, right = _quality_by_text(readings, tags)["entities"].sum(axis=2).T
    wrong: np.ndarray = (found + wanted - 2 * right).astype(np.float64)
    return wrong


def members_of_types(
    teacher: np.ndarray, student: np.ndarray, tags: np.ndarray, names: Sequence[str]
) -> ClassMembers:
    """Return the entities of every type.

    Every entity of a text, real or found by a model, is a row of its own.
    """
    types = entity_types(names)
    width = min(tags.shape[1], teacher.shape[1], student.shape[1])
    words = tags[:, :width] != MISSING_LABEL
    sources = [predicted_tags(each[:, :width]) for each in (teacher, student)]
    by_source = [entities_of(each, words) for each in (*sources, tags[:, :width])]
    rows = [
        [(entity[2], entity in each) for each in found]
        for found in zip(*by_source, strict=True)
        for entity in sorted(set().union(*found))
    ]
    held = np.zeros((3, len(rows), len(types)), dtype=bool)
    for number, row in enumerate(rows):
        for source, (kind, is_there) in enumerate(row):
            held[source, number, kind] = is_there
    return ClassMembers(names=types, teacher=held[0], student=held[1], labels=held[2])
