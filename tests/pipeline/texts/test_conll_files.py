import pytest

from pipeline.errors import InputError
from pipeline.texts.reading import read_source


def read(tmp_path, content, wanted=("tokens", "tags")):
    path = tmp_path / "train.conll"
    path.write_text(content, encoding="utf-8")
    return read_source(str(path), wanted, label="tags")


@pytest.mark.parametrize(
    "content",
    [
        "Ada\tB-person\nran\tO\n\nYes\tO\n",
        "Ada B-person\nran O\n\n\n\nYes O",
        "-DOCSTART- -X- O\n\nAda NNP B-person\nran VBD O\n\nYes UH O\n",
        "Ada\tB-person\r\nran\tO\r\n\r\nYes\tO\r\n",
    ],
    ids=["tabs", "spaces", "four blank lines and columns", "carriage returns"],
)
def test_words_and_tags_are_the_first_and_the_last_column(tmp_path, content):
    table = read(tmp_path, content)

    assert table.columns == {
        "tokens": [["Ada", "ran"], ["Yes"]],
        "tags": [["B-person", "O"], ["O"]],
    }
    assert table.size == 2


def test_sentence_stands_in_its_first_line(tmp_path):
    table = read(tmp_path, "a O\nb O\n\nc O\n")

    assert [table.place(row) for row in range(2)] == ["line 1", "line 4"]


def test_word_that_looks_like_a_comment_is_a_word(tmp_path):
    assert read(tmp_path, "#\tO\n#tag\tO\n").columns["tokens"] == [["#", "#tag"]]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("Ada\tB-person\nran\n", "line 2 has 1 fields, expected 2"),
        ("Ada\n", "line 1 has 1 fields, expected 2"),
        ("Ada NNP B-person\nran O\n", "line 2 has 2 fields, expected 3"),
        ("\n\n", "it is empty"),
    ],
)
def test_lines_without_word_and_tag_are_refused(tmp_path, content, problem):
    with pytest.raises(InputError, match=problem):
        read(tmp_path, content)


def test_other_columns_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"has no column 'text'. Its columns are 'tokens', 'tags'"):
        read(tmp_path, "Ada O\n", wanted=("text", "tags"))
