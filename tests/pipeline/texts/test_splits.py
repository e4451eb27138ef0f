from pathlib import Path

import numpy as np
import pytest

from pipeline.config import DataConfig
from pipeline.errors import InputError
from pipeline.texts.splits import LEFT_OUT, SPLITS, draw_by_group, hold_out
from pipeline.texts.tables import Split, write_split

SIZES = {"validation_size": 10, "test_size": 20}


def make_rows(numbers):
    return [((f"text {number:03}",), number % 2) for number in numbers]


@pytest.fixture
def split(tmp_path):
    """``split(numbers, earlier=None, seed=0, **sizes)``: each split's texts, and their folder."""

    def split(numbers, earlier=None, seed=0, **sizes):
        sources = {"train": "reviews.csv", "splits_of": earlier and str(earlier)}
        config = DataConfig(labels=("no", "yes"), **sources, **SIZES, **sizes)
        splits = hold_out({"train": make_rows(numbers)}, config, seed, strata=list)
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        for name, rows in splits.items():
            if not rows:
                continue
            texts, labels = zip(*rows, strict=True)
            write_split(Split(texts=texts, labels=np.array(labels)), folder / f"{name}.parquet")
        return {name: {text for text, _ in rows} for name, rows in splits.items()}, folder

    return split


def test_earlier_texts_keep_their_splits_over_generations(split):
    """Another seed, and three times the data grows: else half of the texts would move."""
    ever_trained_on = set()
    folder = None
    before = {name: set() for name in SPLITS}
    for generation in range(4):
        found, folder = split(range(100 + 50 * generation), folder, seed=generation)
        assert all(found[name] >= before[name] for name in SPLITS)
        ever_trained_on |= found["train"]
        before = found

    assert not ever_trained_on & (before["test"] | before["validation"])


def test_of_new_texts_the_same_part_is_held_out_by_class(split):
    before, folder = split(range(100))
    after, _ = split(range(200), folder)
    new = {name: after[name] - before[name] for name in SPLITS}

    # 20 of 200 are a tenth; of the 90 that are left, 10 of 170.
    assert {name: len(texts) for name, texts in new.items()} == {
        "train": 85,
        "validation": 5,
        "test": 10,
    }
    assert sum(int(text.split()[1]) % 2 for (text,) in new["test"]) == 5


def test_same_texts_are_split_as_before_whatever_the_seed(split):
    before, folder = split(range(100))
    after, _ = split(range(100), folder, seed=1)

    assert after == before


def test_training_texts_beyond_the_size_are_never_held_out_later(split):
    before, folder = split(range(100), train_size=30)
    after, _ = split(range(300), folder, seed=1)

    assert len(before["train"]) == 30
    assert len(before[LEFT_OUT]) == 40
    assert before["train"] | before[LEFT_OUT] <= after["train"]


def test_texts_that_are_gone_leave_their_splits(split):
    _, folder = split(range(100))
    found, _ = split(range(50, 150), folder)

    assert set().union(*found.values()) == {text for text, _ in make_rows(range(50, 150))}


def test_folder_without_splits_is_refused(split, tmp_path):
    with pytest.raises(InputError, match="does not hold the splits of an earlier run"):
        split(range(100), Path(tmp_path / "nothing"))


def test_groups_are_drawn_in_proportion():
    """Labels are numbers, and a group is a range of them: two of each ten are held out."""
    rows = [((f"text {number:03}",), number / 7) for number in range(100)]
    config = DataConfig(train="scores.csv", validation_size=20, test_size=20)

    def tens(labels):
        return [int(label * 7) // 10 for label in labels]

    splits = hold_out({"train": rows}, config, 0, strata=tens)

    for name in ("validation", "test"):
        groups = tens([label for _, label in splits[name]])
        assert sorted(groups) == [ten for ten in range(10) for _ in range(2)]


def labelled(sizes):
    rows = [(label, number) for label, size in enumerate(sizes) for number in range(size)]
    return [((f"text {label} {number}",), label) for label, number in rows]


def sizes_of(rows, classes):
    return [sum(label == wanted for _, label in rows) for wanted in range(classes)]


def test_train_size_draws_each_class_in_proportion():
    config = DataConfig(train="t.csv", validation_size=100, test_size=100, train_size=300)

    splits = hold_out({"train": labelled([100] * 10)}, config, 0, strata=list)

    assert sizes_of(splits["train"], 10) == [30] * 10
    assert sizes_of(splits["validation"], 10) == [10] * 10
    assert sizes_of(splits["test"], 10) == [10] * 10


@pytest.mark.parametrize("seed", range(3))
def test_small_classes_stay_in_the_rest_and_the_others_in_proportion(seed):
    rest, taken = draw_by_group(labelled([100, 50, 1, 1, 2]), 15, seed=seed, strata=list)

    assert sizes_of(taken, 5)[:2] == [10, 5]
    assert sizes_of(rest, 5)[2:] == [1, 1, 2]


@pytest.mark.parametrize("seed", range(3))
def test_fewer_texts_than_classes_are_drawn_from_different_classes(seed):
    rest, taken = draw_by_group(labelled([4] * 150), 50, seed=seed, strata=list)

    assert max(sizes_of(taken, 150)) == 1
    assert len(taken) == 50
    assert sorted(rest + taken) == sorted(labelled([4] * 150))


def test_no_class_is_drawn_whole_while_another_one_can_give():
    rest, taken = draw_by_group(labelled([1] * 100 + [100]), 90, seed=0, strata=list)

    assert sizes_of(rest, 100) == [1] * 100
    assert len(taken) == 90


@pytest.mark.parametrize("count", [0, 199, 200])
def test_count_is_met_whatever_it_is(count):
    rest, taken = draw_by_group(labelled([1] * 50 + [150]), count, seed=0, strata=list)

    assert (len(taken), len(rest)) == (count, 200 - count)


def test_given_split_is_shuffled():
    """The first texts of a sorted split are no sample of it."""
    rows = labelled([100, 100])
    config = DataConfig(train="t.csv", test="u.csv", validation_size=10)

    test = hold_out({"test": rows, "train": labelled([9, 9, 9])}, config, 0, strata=list)["test"]

    assert sorted(test) == sorted(rows)
    assert 5 < sum(label for _, label in test[:20]) < 15
