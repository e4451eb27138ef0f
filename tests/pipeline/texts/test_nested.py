import pytest

from pipeline.errors import InputError
from pipeline.texts.cells import Number
from pipeline.texts.nested import read_nested, spell_lists


@pytest.mark.parametrize(
    ("cell", "found"),
    [
        ('["a", "b"]', ["a", "b"]),
        ("['a', 'b']", ["a", "b"]),  # as pandas writes a column of lists
        ("('a', \"it's\")", ["a", "it's"]),
        (" [1, 2.50] ", [Number(spelled="1"), Number(spelled="2.50")]),
        ("[1, True, None]", [Number(spelled="1"), True, None]),
        (
            "{'text': ['a'], 'answer_start': [3]}",
            {"text": ["a"], "answer_start": [Number(spelled="3")]},
        ),
        ('{"a": [0]}', {"a": [Number(spelled="0")]}),
        ("[]", []),
    ],
)
def test_lists_and_dictionaries_that_are_written_out_are_read(cell, found):
    assert read_nested(cell) == found


@pytest.mark.parametrize(
    "cell",
    [
        *("['a' 'b']", "['a', 'b'", "[a, b]", "[1] a footnote", "{'a', 'b'}", "array(['a'])"),
        *("['a'  , 'b']", "(3)", "true", "1", '"a"', "", "[" * 5000, None, True, ["a"]),
    ],
)
def test_all_other_cells_stay_as_they_are(cell):
    assert read_nested(cell) is cell


def test_values_of_lists_are_spelled_as_those_of_cells():
    cells = [["a ", Number(spelled="1.0")], [1, 2.5, True], "['b', 2]", " c ", None]

    found = spell_lists("labels", cells, "t.csv", "row {}".format)

    assert found == ['["a", "1.0"]', '["1", "2.5", "true"]', '["b", "2"]', "c", ""]


@pytest.mark.parametrize(
    ("cell", "problem"),
    [
        ([None, "a"], "a list with a gap in row 0"),
        ("['a', None]", "a list with a gap"),
        ([["a"]], "holds lists"),
        ([{"a": 1}], "holds dictionaries"),
    ],
)
def test_lists_with_gaps_or_other_lists_are_refused(cell, problem):
    with pytest.raises(InputError, match=problem):
        spell_lists("labels", [cell], "t.csv", "row {}".format)


def test_messages_show_numbers_as_the_source_writes_them():
    with pytest.raises(InputError, match=r"first in 0: \[1\.50\]"):
        spell_lists("labels", [[[Number(spelled="1.50")]]], "t.csv", str)
