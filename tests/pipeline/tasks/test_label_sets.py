import json

import pytest

from pipeline.config import DataConfig
from pipeline.tasks.label_sets import read_label_sets, set_names
from pipeline.tasks.task import LabelColumn

NAMES = ("joy", "anger", "fear")


def column(*cells, source="t.csv", own_names=None, others=()):
    return LabelColumn(
        cells=cells, source=source, place="line {}".format, own_names=own_names, others=others
    )


def read(*cells, labels=NAMES, own_names=None):
    config = DataConfig(train="t.csv", labels=labels)
    return read_label_sets([column(*cells, own_names=own_names)], config)[0]


@pytest.mark.parametrize(
    "cells",
    [
        ('["joy", "fear"]', "[]", '["anger"]'),
        ("['joy', 'fear']", "[]", "['anger']"),  # as Python prints them
        ("[0, 2]", "[]", "[1]"),
        ('["fear", "joy", "joy"]', "[]", '["Anger"]'),
    ],
    ids=["JSON", "Python", "indices", "order, copies and case"],
)
def test_lists_are_sets_of_labels(cells):
    assert read(*cells) == [(1, 0, 1), (0, 0, 0), (0, 1, 0)]


@pytest.mark.parametrize("delimiter", [",", ", ", ";", "|", " | "])
def test_strings_are_cut_at_the_delimiter_that_makes_them_labels(delimiter):
    assert read(delimiter.join(["joy", "fear"]), "anger") == [(1, 0, 1), (0, 1, 0)]


@pytest.mark.parametrize(
    "cells",
    [
        ("[1, 0, 1]", "[0, 0, 0]", "[0, 1, 0]"),
        ("[1.0, 0.0, 1.0]", "[0.0, 0.0, 0.0]", "[0.0, 1.0, 0.0]"),
        ("[True, False, True]", "[False, False, False]", "[False, True, False]"),
    ],
    ids=["0 and 1", "numbers", "booleans"],
)
def test_lists_of_0_and_1_are_flags_of_all_labels(cells):
    assert read(*cells) == [(1, 0, 1), (0, 0, 0), (0, 1, 0)]


def test_two_flags_are_certain_where_one_list_repeats_a_value():
    assert read("[0, 1]", "[1, 1]", labels=NAMES[:2]) == [(0, 1), (1, 1)]
    assert read("[0, 1]", "[1]", labels=NAMES[:2]) == [(1, 1), (0, 1)]  # indices


@pytest.mark.parametrize(
    ("cells", "labels"),
    [
        (("[0, 1]", "[1, 0]"), NAMES[:2]),  # both labels, or one
        (("[0, 1, 0, 0]", "[1, 0, 0, 0]"), NAMES),  # flags of other labels
        (("[0, 1, 0]", "[]"), NAMES),
        (("[2, 2]", "[1]"), NAMES),
    ],
)
def test_lists_that_may_be_indices_or_flags_are_refused(cells, labels):
    with pytest.raises(ValueError, match=r"may hold indices, or flags .* in t\.csv, line 0"):
        read(*cells, labels=labels)


def test_names_that_are_0_and_1_are_names():
    assert read('["0", "1"]', '["1", "1"]', labels=("0", "1")) == [(1, 1), (0, 1)]


@pytest.mark.parametrize("cell", ["joy", "NaN", "['joy' 'fear']"])
def test_cell_that_is_no_list_among_lists_is_refused_with_its_place(cell):
    with pytest.raises(ValueError, match=r"t\.csv, line 1 holds .*, where other cells hold lists"):
        read('["joy"]', cell)


def test_names_with_a_comma_are_cut_at_another_delimiter():
    labels = ("joy, love", "anger")

    assert read("joy, love; anger", "anger", labels=labels) == [(1, 1), (0, 1)]


def test_single_labels_are_sets_of_one():
    assert read("joy", "anger") == [(1, 0, 0), (0, 1, 0)]


def test_empty_cell_is_no_set():
    assert read("joy", "") == [(1, 0, 0), None]


def test_own_names_of_a_hub_data_set_are_matched_by_name():
    own = ("fear", "joy", "anger")

    assert read("[0]", "[1, 2]", own_names=own) == [(0, 0, 1), (1, 1, 0)]


@pytest.mark.parametrize(
    ("cells", "labels", "problem"),
    [
        (("joy;sadness",), NAMES, r"holds 'sadness', which is not in data\.labels.*line 0"),
        (('["joy", "sadness"]',), NAMES, "holds 'sadness'"),
        (('["joy", ""]',), NAMES, "line 0 names an empty label"),
        (("joy,,fear",), NAMES, "line 0 names an empty label"),
        (("['joy' 'fear']",), NAMES, "which is not in data"),  # as numpy prints them
        (("joy", "1"), NAMES, "Write all of them one way"),
        (("a,b", "a"), ("a", "b", "a,b"), "can be read in two ways"),
        (('[["joy"]]',), NAMES, "which is not in data"),
    ],
)
def test_cells_that_are_no_sets_of_labels_are_refused(cells, labels, problem):
    with pytest.raises(ValueError, match=problem):
        read(*cells, labels=labels)


def test_label_that_one_file_alone_has_is_refused_with_its_file():
    config = DataConfig(train="a.csv", labels=NAMES)
    columns = [column("joy|fear", source="a.csv"), column("joy", "love", source="b.csv")]

    with pytest.raises(ValueError, match=r"'love' in b\.csv, line 1"):
        read_label_sets(columns, config)


def flags(*columns):
    config = DataConfig(train="t.csv", label=NAMES)
    first, *others = (column(*cells) for cells in columns)
    return read_label_sets([column(*first.cells, others=others)], config)[0]


def test_columns_of_0_and_1_are_sets_of_labels():
    found = flags(("1", "0", ""), ("0", "true", ""), ("1.0", "0", ""))

    assert found == [(1, 0, 1), (0, 1, 0), None]
    assert set_names(DataConfig(train="t.csv", label=NAMES)) == NAMES


@pytest.mark.parametrize("cell", ["2", "yes", "", "0.5"])
def test_column_of_anything_but_0_and_1_is_refused(cell):
    with pytest.raises(ValueError, match=r"'anger' holds .*, expected 0 or 1 .*t\.csv, line 1"):
        flags(("1", "0"), ("0", cell), ("1", "1"))


def test_any_list_of_known_labels_is_read_as_it_was_written():
    sets = [[name for bit, name in enumerate(NAMES) if number >> bit & 1] for number in range(8)]
    expected = [tuple(int(name in each) for name in NAMES) for each in sets]

    for spell in (json.dumps, str):
        assert read(*map(spell, sets)) == expected
