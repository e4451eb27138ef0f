"""Token classification: a tag for every word of a text, and the entities that tags mark.

Tags follow IOB2. A model answers for a word at its first token, and the hard loss is cross-entropy
there. The soft loss is T² KL at every token that is no padding. A student returns its entities with
their characters in the text.

Shapes: N = texts, W = words, C = tags (O, then B- and I- of each type); readings are (N, W, C).
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
from pipeline.tasks.class_metrics import softmax_rows
from pipeline.tasks.classification import label_mix, uncertain_classes, worst_class_lost
from pipeline.tasks.entity_metrics import (
    ENTITY_FIDELITY,
    ENTITY_QUALITY,
    entities_of,
    members_of_types,
    predicted_tags,
    wrong_entities,
)
from pipeline.tasks.tags import (
    Entity,
    entity_types,
    find_entities,
    join_words,
    propose_tags,
    read_tags,
    tag_names,
    unlike_length,
)
from pipeline.tasks.task import Labels, Shift, Task, Words
from pipeline.tasks.words import WORD_LAYOUT, free_words
from pipeline.texts.cells import Label
from pipeline.texts.nested import spell_lists

if TYPE_CHECKING:
    from models.losses import Objective


_CONSTANT = "no entities in any text"


class EntityAnswer(BaseModel):
    """One entity of a text."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    label: str
    """Type of the entity."""
    text: str
    """Characters of the entity."""
    start: int
    """Position of the entity's first character in the text."""
    end: int
    """Position of the character behind the entity's last."""
    score: float
    """Mean probability of the tags of the entity's words."""


class EntitiesAnswer(BaseModel):
    """The answer to one text."""

    entities: list[EntityAnswer]


def entity_answers(
    readings: np.ndarray, names: Sequence[str], texts: Sequence[Sequence[str]]
) -> list[dict[str, Any]]:
    """Return each text's entities, in the order of the text."""
    types, answers = entity_types(names), []
    tags = predicted_tags(readings)
    for row, (text,) in enumerate(texts):
        words = free_words(text)
        own = tags[row, : len(words)]
        probabilities = softmax_rows(readings[row, : len(words)].astype(np.float64))
        entities = []
        for first, behind, kind in find_entities(own.tolist()):
            start, end = words[first][0], words[behind - 1][1]
            chosen = probabilities[np.arange(first, behind), own[first:behind]]
            entities.append(
                {
                    "label": types[kind],
                    "text": text[start:end],
                    "start": start,
                    "end": end,
                    "score": float(chosen.mean()),
                }
            )
        answers.append({"entities": entities})
    return answers


def _checks(evaluation: EvaluateFacts, config: GateConfig) -> tuple[Check, ...]:
    return (
        quality_lost(evaluation, config, "entity_f1"),
        agreement(
            evaluation,
            config,
            "word_agreement",
            "Student and teacher give {} of the words of the test texts the same tag",
        ),
        worst_class_lost(evaluation, config),
        *gained(evaluation, config, "entity_f1", _CONSTANT),
        *least_quality(evaluation, config, "entity_f1"),
    )


def _warnings(evaluation: EvaluateFacts, config: GateConfig) -> tuple[str, ...]:
    return (
        *unsure_gain(evaluation, "entity_f1", _CONSTANT),
        *uncertain_classes(evaluation, config),
    )


def _no_entities(tags: np.ndarray, readings: np.ndarray) -> np.ndarray:
    """Return readings of a model that is certain of O for every word, (N, W, C)."""
    outputs = np.zeros((*tags.shape, readings.shape[-1]), dtype=np.float32)
    outputs[..., 0] = 10.0
    return outputs


def _types_of(label: Label) -> list[int]:
    entities: list[Entity] = find_entities(label) if isinstance(label, tuple) else []
    return [kind for _, _, kind in entities]


def _strata(labels: Sequence[Label]) -> list[int]:
    """Return the rarest type of each text's entities; texts without entities share a group."""
    types = [_types_of(label) for label in labels]
    counts = np.bincount([kind for row in types for kind in row], minlength=1)
    return [min(row, key=lambda kind: (counts[kind], kind), default=-1) for row in types]


def _check_labels(labels: Sequence[Label], _names: Sequence[str]) -> str | None:
    if any(map(_types_of, labels)):
        return None
    return "holds no entity. Some are needed: check data.label, data.filter and the source"


def _count_labels(
    splits: Mapping[str, np.ndarray], names: Sequence[str]
) -> dict[str, dict[str, int]]:
    types = entity_types(names)
    counts = {split: _count_types(labels, len(types)) for split, labels in splits.items()}
    return {
        split: dict(zip(types, map(int, count), strict=True)) for split, count in counts.items()
    }


def _count_types(tags: np.ndarray, count: int) -> np.ndarray:
    """Return the number of entities of each type, (E,)."""
    found = entities_of(tags, tags >= 0)
    return np.bincount([kind for each in found for _, _, kind in each], minlength=count)


def _shifts(
    old: np.ndarray, new: np.ndarray, readings_old: np.ndarray, readings_new: np.ndarray
) -> list[Shift]:
    from pipeline.statistics.two_samples import two_samples

    types = readings_old.shape[2] // 2
    labelled = [list(entities_of(tags, tags >= 0)) for tags in (old, new)]
    answered = [
        list(entities_of(predicted_tags(each), ~np.isnan(each[..., 0])))
        for each in (readings_old, readings_new)
    ]
    kinds = [
        np.array([kind for each in found for _, _, kind in each], dtype=np.int64)
        for found in labelled
    ]
    counted = [[np.array(list(map(len, each))) for each in pair] for pair in (labelled, answered)]
    mix = [label_mix(kinds[0], kinds[1], types)] if all(map(len, kinds)) else []
    return [
        *mix,
        Shift(name="entities per text", **two_samples(*counted[0])),
        Shift(name="entities that the champion finds per text", **two_samples(*counted[1])),
    ]


def _objective() -> "Objective":
    from models.losses import TOKEN_OBJECTIVE

    return TOKEN_OBJECTIVE


def _agrees(agreement: float) -> str:
    return f"gives {agreement:.1%} of the words the same tag as its teacher"


TOKEN_CLASSIFICATION = Task(
    name="token-classification",
    labels=Labels(
        dtype=np.int16,
        names=tag_names,
        read=read_tags,
        check=_check_labels,
        strata=_strata,
        counts=_count_labels,
        propose=propose_tags,
        spell=spell_lists,
        texts=join_words,
        misfit=unlike_length,
    ),
    words=Words(
        loss="cross-entropy per word, nats",
        distance="KL to the teacher per word (nats)",
        agreement="words with the teacher's tag",
        agrees=_agrees,
        constant=_CONSTANT,
        model="token classifier with the tags",
        intended_use="to find entities of these types in texts like those of its test split "
        "(source below).",
        limits=(
            "It was measured on words that were split beforehand; it splits other texts at white "
            "space and punctuation.",
            "An entity counts if all its words and its type are right.",
        ),
        hub_task="token-classification",
        hub_metrics={
            "entity_f1": "f1",
            "entity_precision": "precision",
            "entity_recall": "recall",
        },
        hub_call='"a text", aggregation_strategy="first"',
    ),
    objective=_objective,
    main_metric="entity_f1",
    agreement="word_agreement",
    distance="mean_kl",
    metrics=ENTITY_QUALITY,
    fidelity=ENTITY_FIDELITY,
    errors=wrong_entities,
    constant=_no_entities,
    members=members_of_types,
    checks=_checks,
    warnings=_warnings,
    shifts=_shifts,
    answers=entity_answers,
    answer_type=EntitiesAnswer,
    hub_head="tagging",
    model_suffix="ForTokenClassification",
    layout=WORD_LAYOUT,
)
"""A tag for every word of a text, and the entities that the tags mark."""
