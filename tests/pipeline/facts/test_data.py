from dataclasses import replace

from pipeline.facts.data import DataFacts

FACTS = DataFacts(
    digest="d",
    texts_digest="t",
    labels=("no", "yes"),
    text_columns=("text",),
    sizes={"test": 200, "train": 1600, "validation": 200},
    label_counts={
        "train": {"no": 800, "yes": 800},
        "validation": {"no": 100, "yes": 100},
        "test": {"no": 100, "yes": 100},
    },
    dropped_duplicates=0,
    conflicting_labels=0,
    dropped_empty=0,
)


def test_sizes_are_said_in_their_order():
    assert FACTS.said() == ("data: 1,600 train, 200 validation, 200 test; dropped: nothing",)


def test_what_was_dropped_is_said_with_counts():
    (line,) = replace(FACTS, dropped_duplicates=1012, conflicting_labels=3, dropped_empty=1).said()

    assert line.endswith(
        "; dropped: 1,012 duplicates (3 of them with another label than the first), 1 without "
        "text or label"
    )


def test_class_that_a_split_lacks_is_named():
    counts = FACTS.label_counts | {"test": {"no": 200, "yes": 0}}

    _, line = replace(FACTS, label_counts=counts).said()

    assert line == (
        "data: too few texts to be in all splits: yes (800 train, 100 validation, 0 test)"
    )


def test_ranges_of_numbers_are_no_classes():
    counts = {split: {"0 to 1": 5, "1 to 2": 0} for split in FACTS.sizes}

    assert len(replace(FACTS, labels=("score",), label_counts=counts).said()) == 1


def test_ten_small_classes_are_named_at_most():
    names = tuple(f"n{number}" for number in range(150))
    counts = {split: dict.fromkeys(names, 0) for split in FACTS.sizes}

    _, line = replace(FACTS, labels=names, label_counts=counts).said()

    assert line.endswith("n9 (0 train, 0 validation, 0 test) and 140 more")
