import pytest

from pipeline.errors import InputError
from pipeline.texts.text_files import cut_texts, given_texts


@pytest.mark.parametrize("inside", ["\t", "\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\r"])
def test_text_is_cut_at_line_feeds_alone(inside):
    content = f"a{inside}b\nc\r\n\n d\n"

    assert cut_texts(content, "t.txt", "text") == [(f"a{inside}b",), ("c",), (" d",)]


def test_pairs_are_two_columns():
    assert cut_texts("a b\tc\nd\t\r\n", "t.tsv", "pairs") == [("a b", "c"), ("d", "")]


@pytest.mark.parametrize(("line", "tabs"), [("a b", 0), ("a\tb\tc", 2)])
def test_line_that_is_no_pair_is_refused_with_its_number(line, tabs):
    with pytest.raises(InputError, match=rf"t\.tsv, line 3 has {tabs} tabs, expected one"):
        cut_texts(f"a\tb\n\n{line}\n", "t.tsv", "pairs")


@pytest.mark.parametrize("line", ['["a", "b\\tc"]', '{"text": "a", "text_b": "b\\tc", "id": 3}'])
def test_pairs_may_be_json(line):
    assert cut_texts(line, "t.jsonl", "jsonl") == [("a", "b\tc")]


@pytest.mark.parametrize("line", ['"a\\nb"', '["a\\nb"]', '{"text": "a\\nb"}'])
def test_texts_may_be_json(line):
    assert cut_texts(line, "t.jsonl", "jsonl") == [("a\nb",)]


@pytest.mark.parametrize(
    "line",
    ["a", "3", "null", "[]", '["a", "b", "c"]', '["a", 1]', '{"body": "a"}', "{", "[" * 9999],
)
def test_json_that_is_no_text_is_refused_with_its_line(line):
    with pytest.raises(InputError, match=r"t\.jsonl, line 2 is .*text_b"):
        cut_texts(f'"a"\n{line}', "t.jsonl", "jsonl")


def test_texts_beside_pairs_are_refused():
    with pytest.raises(InputError, match="line 2 holds a pair, where t, line 1 holds one text"):
        cut_texts('"a"\n["a", "b"]', "t", "jsonl")


def test_arguments_are_texts_as_they_are():
    assert given_texts(["a\tb", "c\nd", ""], "text") == [("a\tb",), ("c\nd",), ("",)]


def test_arguments_are_pairs_two_by_two():
    assert given_texts(["a", "b", "c\td", "e"], "pairs") == [("a", "b"), ("c\td", "e")]
    with pytest.raises(InputError, match="two arguments for each pair, found 3"):
        given_texts(["a", "b", "c"], "pairs")


def test_argument_that_is_not_utf_8_is_refused():
    """Python gives such a byte of the command line as half a character."""
    with pytest.raises(InputError, match="text 2 is not text in UTF-8"):
        given_texts(["a", "na\udcefve"], "text")
