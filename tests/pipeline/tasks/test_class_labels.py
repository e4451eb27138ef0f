import logging

import pytest

from pipeline.config import DataConfig
from pipeline.tasks.class_labels import read_class_labels
from pipeline.tasks.task import LabelColumn

NAMES = ("negative", "positive")
STARS = ("1", "2", "3", "4", "5")


def column(*cells, own_names=None):
    return LabelColumn(cells=cells, source="t.csv", place="line {}".format, own_names=own_names)


def read(*cells, labels=NAMES, own_names=None):
    config = DataConfig(train="t.csv", labels=labels)
    return read_class_labels([column(*cells, own_names=own_names)], config)[0]


def read_together(*columns, labels=NAMES):
    config = DataConfig(train="t.csv", labels=labels)
    return read_class_labels([column(*cells) for cells in columns], config)


def test_labels_are_read_by_name():
    assert read("positive", "negative", "") == [1, 0, None]


def test_labels_are_read_by_index():
    assert read("1", "0", "") == [1, 0, None]


def test_names_and_indices_in_one_column_are_refused():
    with pytest.raises(ValueError, match=r"names \('positive'\) and indices \('0'\) of") as caught:
        read("positive", "0")

    assert "Write all of them one way" in str(caught.value)


@pytest.mark.parametrize(
    "cells",
    [("0", "1", "2", "3", "4"), ("1", "2", "3", "4"), ("0", "3"), ("1", "2")],
    ids=["as indices", "without the last star", "few indices", "few stars"],
)
def test_names_that_may_be_other_indices_are_refused_with_both_readings(cells):
    with pytest.raises(ValueError, match="can be read in two ways") as caught:
        read(*cells, labels=STARS)

    assert "is the name of class" in str(caught.value)
    assert "and the index of" in str(caught.value)


def test_names_that_are_numbers_are_names_where_all_of_them_occur():
    assert read(*STARS, labels=STARS) == [0, 1, 2, 3, 4]
    assert read("1", "0", labels=("1", "0")) == [0, 1]


def test_names_that_are_numbers_are_names_where_one_is_no_index():
    assert read("2", "5", labels=STARS) == [1, 4]


def test_names_that_are_their_own_indices_have_one_reading():
    assert read("1", labels=("0", "1", "2")) == [1]


def test_all_sources_are_read_one_way():
    """Alone, the second source could be indices."""
    assert read_together(STARS, ("1", "2"), labels=STARS) == [[0, 1, 2, 3, 4], [0, 1]]
    with pytest.raises(ValueError, match="two ways"):
        read_together(("0", "1", "2", "3", "4"), ("1", "2"), labels=STARS)


@pytest.mark.parametrize(
    ("labels", "cells"),
    [
        (("false", "true"), ("False", "True")),
        (("False", "True"), ("false", "TRUE")),
        (("1", "2"), ("1.0", "2.0")),
        (("1.0", "2.0"), ("1", "2")),
        (("not spam", "spam"), ("not  spam", "Spam")),
        (("caf\u00e9", "bar"), ("cafe\u0301", "bar")),
    ],
)
def test_other_spelling_is_read_where_one_name_fits_and_is_logged(labels, cells, caplog):
    caplog.set_level(logging.INFO)

    assert read(*cells, labels=labels) == [0, 1]
    assert f"{cells[0]!r} as {labels[0]!r}" in caplog.text


def test_whole_numbers_are_indices():
    assert read("0.0", "1.0") == [0, 1]


def test_spelling_that_two_names_fit_is_refused():
    with pytest.raises(ValueError, match="holds 'YES', which is not"):
        read("YES", labels=("yes", "Yes"))


def test_spelling_that_is_a_name_is_that_name():
    assert read("yes", "Yes", labels=("yes", "Yes")) == [0, 1]


@pytest.mark.parametrize(
    ("cell", "near"),
    [("postive", "'positive'"), ("negativ", "'negative'"), ("Positiv", "'positive'")],
)
def test_unknown_label_is_refused_with_its_place_and_the_nearest(cell, near):
    with pytest.raises(ValueError, match="Add the label") as caught:
        read("positive", cell)

    assert f"(first: {cell!r} in t.csv, line 1; nearest: {near} for {cell!r})" in str(caught.value)


@pytest.mark.parametrize("cell", ["NaN", "nan", "1.5", "2", "-1", "true", "01", "0.5", "None"])
def test_cell_that_is_neither_name_nor_index_is_refused(cell):
    with pytest.raises(ValueError, match=f"holds '{cell}', which is not in data"):
        read("0", cell)


def test_unknown_labels_are_refused_and_named():
    with pytest.raises(ValueError, match="Add the label") as caught:
        read("positive", "unsure", "2", "", "mixed", "unsure")

    assert str(caught.value).startswith("the column 'label' holds '2', 'mixed', 'unsure', which ")
    assert "['negative', 'positive']" in str(caught.value)


def test_ten_unknown_labels_are_named_at_most():
    with pytest.raises(ValueError, match=r"'n09' and 20 more, which are not"):
        read(*(f"n{number:02}" for number in range(30)))


def test_indices_of_a_data_set_are_those_of_its_own_names():
    assert read("0", "1", own_names=["positive", "negative"]) == [1, 0]


def test_row_that_a_data_set_marks_as_unlabelled_is_empty():
    assert read("0", "-1", own_names=["positive", "negative"]) == [1, None]


def test_own_names_may_differ_in_case():
    assert read("0", "1", own_names=["Positive", "NEGATIVE"]) == [1, 0]


def test_index_of_an_own_name_that_the_config_lacks_is_refused():
    with pytest.raises(ValueError, match=r"holds '2' \('mixed'\), which is not in data\.labels"):
        read("0", "2", own_names=["negative", "positive", "mixed"])
