import random

import numpy as np
import pytest

from pipeline.release.drift import measure_drift, new_texts
from pipeline.tasks.classification import CLASSIFICATION
from pipeline.texts.tables import Split

WORDS = [f"word{number}" for number in range(40)]
LEVEL = 0.01


def make_split(size=200, *, seed, words=WORDS, longest=9, positive=0.5):
    """Return random texts of some of the words."""
    rng = random.Random(seed)
    # Marks that are no words keep the texts apart.
    texts = tuple(
        (" ".join(rng.choices(words, k=rng.randint(5, longest))) + "?" * row + "!" * seed,)
        for row in range(size)
    )
    return Split(texts=texts, labels=np.array([rng.random() < positive for _ in range(size)], int))


def make_logits(size=200, *, seed, sure=2.0):
    return np.random.default_rng(seed).normal(size=(size, 2), scale=sure)


def drifted(now, logits_now=None):
    """Return the names of what drifted between a fixed split and another."""
    before = make_split(seed=0)
    logits_now = make_logits(seed=1) if logits_now is None else logits_now
    shifts = CLASSIFICATION.shifts(before.labels, now.labels, make_logits(seed=0), logits_now)
    found = measure_drift(before, now, shifts, level=LEVEL)
    return {each.name for each in found if each.drifted}


def test_texts_of_the_same_source_have_not_drifted():
    alarms = [drifted(make_split(seed=seed)) for seed in range(1, 21)]

    assert sum(map(bool, alarms)) <= 1  # twenty times a hundredth


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"longest": 30}, "words per text"),
        ({"words": [*WORDS, *(f"new{number}" for number in range(40))]}, "part of unknown words"),
        ({"positive": 0.9}, "part of the commonest label"),
    ],
)
def test_each_change_is_found_and_named(change, name):
    assert name in drifted(make_split(seed=1, **change))


def test_less_sure_champion_is_found():
    found = drifted(make_split(seed=1), make_logits(seed=1, sure=0.2))

    assert found == {"confidence of the champion"}


def test_only_texts_that_were_nowhere_before_are_new():
    old, new = make_split(3, seed=0), make_split(2, seed=1)
    mixed = Split(texts=(*new.texts, *old.texts), labels=np.concatenate([new.labels, old.labels]))
    found = new_texts([old], [mixed])

    assert found.texts == new.texts
    assert found.labels.tolist() == new.labels.tolist()
