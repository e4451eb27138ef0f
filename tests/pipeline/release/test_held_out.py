import json

import numpy as np
import pytest
from support.tiny_models import BAD, GOOD, NEUTRAL

from pipeline.config import PromotionRule
from pipeline.errors import InputError
from pipeline.inference.classifier import load_bundle
from pipeline.inference.thresholds import write_thresholds
from pipeline.release.held_out import held_out_of_both, pair_models
from pipeline.release.promotion import promote
from pipeline.release.register import register
from pipeline.tasks.classification import CLASSIFICATION
from pipeline.tasks.question_answering import QUESTION_ANSWERING
from pipeline.texts.tables import Split, write_split

WORDS = [*GOOD.split(), *BAD.split(), *NEUTRAL.split()]
TEXTS = tuple((f"{first} {second}",) for first in WORDS for second in WORDS)
"""Hundreds of texts, of which a run takes its splits."""


@pytest.fixture
def add_run(registry, write_run, tmp_path):
    """``add_run(start, seed=, data=)``: a registered run with the 90 texts from there.

    Its labels are what the student of seed 0 answers.
    """

    def add_run(start, *, seed, data):
        folder = write_run(tmp_path / "runs" / f"run-{seed}-{data[0]}", seed=seed, data=data)
        knows = load_bundle(registry_bundle(tmp_path, write_run))
        (folder / "data").mkdir()
        for name, first in (("train", 0), ("validation", 30), ("test", 60)):
            texts = TEXTS[start + first : start + first + 30]
            labels = knows.outputs(texts).argmax(axis=1)
            write_split(Split(texts=texts, labels=labels), folder / "data" / f"{name}.parquet")
        return register(registry, folder)

    return add_run


def registry_bundle(tmp_path, write_run):
    """Return the bundle of seed 0, by which texts are labelled."""
    folder = tmp_path / "labeller"
    return folder / "student" if folder.is_dir() else write_run(folder, seed=0) / "student"


def test_students_of_other_test_texts_are_compared_on_what_neither_was_trained_on(
    registry, add_run
):
    add_run(0, seed=0, data="a" * 64)
    promote(registry, "tiny")
    add_run(100, seed=1, data="b" * 64)

    with pytest.raises(InputError, match=r"points from the champion's .* on 30 texts"):
        promote(registry, "tiny")


def test_a_student_as_good_on_what_neither_was_trained_on_is_promoted(registry, add_run):
    add_run(0, seed=1, data="a" * 64)
    promote(registry, "tiny")
    add_run(100, seed=0, data="b" * 64)

    check = promote(registry, "tiny").checks[-1]

    assert check.name == "accuracy lost against the champion"
    assert check.value < 0


def test_too_few_shared_texts_are_no_comparison(registry, add_run):
    add_run(0, seed=0, data="a" * 64)
    promote(registry, "tiny")
    add_run(100, seed=1, data="b" * 64)
    rule = PromotionRule(min_champion_texts=31)

    with pytest.raises(InputError, match="only 30 texts are held out of both, min_champion_texts"):
        promote(registry, "tiny", rule=rule)


def test_a_run_folder_that_changed_is_not_believed(registry, add_run, tmp_path):
    add_run(0, seed=0, data="a" * 64)
    promote(registry, "tiny")
    add_run(100, seed=1, data="b" * 64)
    (tmp_path / "runs" / "run-1-b" / "report.json").write_text("{}")

    with pytest.raises(InputError, match="the texts of version 2 are not in"):
        promote(registry, "tiny")


def test_models_are_compared_by_the_thresholds_that_they_ship(write_words_bundle, tmp_path):
    """Two equal students of labels that exclude nothing; the second one's thresholds find none."""
    models = []
    for name, threshold in (("old", 0.0), ("new", 1.0)):
        folder = write_words_bundle(tmp_path / name)
        config = json.loads((folder / "config.json").read_text())
        config |= {"problem_type": "multi_label_classification"}
        (folder / "config.json").write_text(json.dumps(config))
        write_thresholds(folder, ("negative", "positive"), np.full(2, threshold))
        models.append(load_bundle(folder))
    split = Split(texts=TEXTS[:20], labels=np.ones((20, 2), dtype=np.int64))

    paired = pair_models(*models, split, confidence=0.95)

    assert paired.baseline["micro_f1"] == 1
    assert paired.candidate["micro_f1"] == 0


def test_texts_that_the_champion_was_trained_on_are_not_compared_on(tmp_path):
    def write(folder, **splits):
        (tmp_path / folder).mkdir()
        for name, words in splits.items():
            split = Split(texts=tuple((w,) for w in words), labels=np.arange(len(words)))
            write_split(split, tmp_path / folder / f"{name}.parquet")

    write("old", train=["a", "b"], validation=["c"], test=["d"])
    write("new", train=["x"], validation=["y"], test=["a", "c", "d", "e"])
    found = held_out_of_both(tmp_path / "old", tmp_path / "new", CLASSIFICATION)

    assert found.texts == (("d",), ("e",))
    assert found.labels.tolist() == [2, 3]


def test_questions_on_a_context_that_the_champion_was_trained_on_are_not_compared_on(tmp_path):
    def write(folder, **splits):
        (tmp_path / folder).mkdir()
        for name, texts in splits.items():
            labels = np.full((len(texts), 4), -1, dtype=np.int32)
            write_split(Split(texts=texts, labels=labels), tmp_path / folder / f"{name}.parquet")

    known, new = ("who came", "Ada came"), ("who came", "Bob came")
    other = ("who went", "Ada came")
    write("old", train=(known,), validation=(("who", "Cyd"),), test=(("who", "Dot"),))
    write("new", train=(("who", "Eve"),), validation=(("who", "Fay"),), test=(other, new))

    folders = tmp_path / "old", tmp_path / "new"

    assert held_out_of_both(*folders, QUESTION_ANSWERING).texts == (new,)
