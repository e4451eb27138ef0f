import json

import pytest

from pipeline.config import DataConfig
from pipeline.errors import InputError
from pipeline.tasks.tags import (
    entity_types,
    find_entities,
    join_words,
    read_tags,
    tag_names,
    unlike_length,
)
from pipeline.tasks.task import LabelColumn

TYPES = ("person", "place")
TAGS = ("O", "B-person", "I-person", "B-place", "I-place")


def column(*cells, source="t.jsonl", own_names=None):
    spelled = [each if isinstance(each, str) else json.dumps(each) for each in cells]
    return LabelColumn(cells=spelled, source=source, place="line {}".format, own_names=own_names)


def read(*cells, labels=TYPES, own_names=None):
    config = DataConfig(train="t.jsonl", labels=labels)
    return read_tags([column(*cells, own_names=own_names)], config)[0]


@pytest.mark.parametrize("labels", [TYPES, TAGS], ids=["types", "tags"])
def test_tags_are_outside_then_both_tags_of_each_type(labels):
    assert tag_names(DataConfig(train="t.jsonl", labels=labels)) == TAGS
    assert entity_types(TAGS) == TYPES


@pytest.mark.parametrize(
    "labels",
    [("B-person", "O", "I-person"), ("O", "B-person"), ("B-person", "I-person"), ("O", "person")],
)
def test_labels_that_are_no_whole_set_of_tags_are_refused(labels):
    with pytest.raises(ValueError, match="the types of entities alone, or all their tags"):
        tag_names(DataConfig(train="t.jsonl", labels=labels))


def test_tags_are_read_by_name():
    assert read(["O", "B-person", "I-person"], ["B-place"], "") == [(0, 1, 2), (3,), None]


def test_tags_and_words_that_are_written_out_are_read():
    assert read("['O', 'B-person']", '["B-place"]') == [(0, 1), (3,)]
    assert join_words("tokens", ["['it', \"isn't\"]", "", None], "t.csv", str) == [
        "it isn't",
        "",
        "",
    ]


def test_indices_are_read_where_all_tags_are_named():
    assert read(["0", "1", "2"], labels=TAGS) == [(0, 1, 2)]
    with pytest.raises(ValueError, match=r"holds the indices 0, .* Give all tags as data\.labels"):
        read(["0", "1"])


def test_indices_of_a_data_set_are_matched_by_its_own_names():
    own = ("O", "B-place", "I-place", "B-person", "I-person")

    assert read(["1", "2", "3"], own_names=own) == [(3, 4, 1)]


@pytest.mark.parametrize(
    ("tags", "wrong", "before"),
    [
        (["I-person"], "'I-person' of word 1", "nothing"),
        (["O", "I-person"], "'I-person' of word 2", "'O'"),
        (["B-person", "I-place"], "'I-place' of word 2", "'B-person'"),
        (["B-person", "I-person", "I-place"], "'I-place' of word 3", "'I-person'"),
    ],
)
def test_tags_that_are_no_iob2_are_refused_with_their_word(tags, wrong, before):
    with pytest.raises(
        ValueError, match=f"line 1: the tags are not IOB2. {wrong} follows {before}"
    ):
        read(["O"], tags)


@pytest.mark.parametrize(
    ("cell", "problem"),
    [
        (["O", "B-animal"], r"holds 'B-animal', which is not in data\.labels"),
        (["O", "S-person"], r"holds 'S-person', which is not"),
        (["O", ""], "line 0 holds an empty tag"),
        ("O B-person", "expected a list of tags"),
        ('{"a": 1}', "expected a list of tags"),
    ],
)
def test_cells_that_are_no_lists_of_tags_are_refused(cell, problem):
    with pytest.raises(ValueError, match=problem):
        read(cell)


def test_tag_that_one_file_alone_has_is_refused_with_its_file():
    config = DataConfig(train="a.jsonl", labels=TYPES)
    columns = [column(["O"], source="a.jsonl"), column(["O"], ["B-group"], source="b.jsonl")]

    with pytest.raises(ValueError, match=r"'B-group' in b\.jsonl, line 1"):
        read_tags(columns, config)


@pytest.mark.parametrize(
    ("tags", "entities"),
    [
        ([], []),
        ([0, 0], []),
        ([1], [(0, 1, 0)]),
        ([1, 2, 2, 0, 3], [(0, 3, 0), (4, 5, 1)]),
        ([1, 1, 2], [(0, 1, 0), (1, 3, 0)]),  # one behind another
        ([1, 4, 4], [(0, 1, 0)]),  # what no B- begins is none
        ([2, 2, 0, 4], []),
        ([1, 4, 2], [(0, 1, 0)]),
        ([3, 4], [(0, 2, 1)]),
    ],
)
def test_entities_are_found_strictly(tags, entities):
    assert find_entities(tags) == entities


def join(*cells):
    return join_words("tokens", cells, "t.jsonl", "line {}".format)


def test_words_are_joined_by_single_spaces():
    assert join(["New", "York", "!"], None, []) == ["New York !", "", ""]


@pytest.mark.parametrize(
    ("cell", "problem"),
    [
        ("New York", "holds 'New York' in line 0, expected a list of words"),
        (["New York"], "holds the word 'New York' in line 0"),
        (["New", " "], "holds the word '' in line 0"),
        (["New", 3], "expected text .first in line 0, word 2"),
    ],
)
def test_cells_that_are_no_lists_of_words_are_refused(cell, problem):
    with pytest.raises(InputError, match=problem):
        join(cell)


def test_as_many_tags_as_words_are_needed():
    assert unlike_length(("New York",), (1, 2)) is None
    assert unlike_length(("New York",), (1, 2, 0)).startswith(
        "expected a tag for each word, found 3"
    )
