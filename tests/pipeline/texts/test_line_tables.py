import pytest

from pipeline.errors import InputError
from pipeline.texts.reading import read_source


@pytest.fixture
def lines(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("first, with commas\n\n  \nsecond\ttext\r\n", encoding="utf-8")
    return path


def test_each_line_that_is_not_blank_is_a_text(lines):
    table = read_source(str(lines), ("text",), label="text")

    assert table.columns["text"] == ["first, with commas", "second\ttext"]
    assert [table.place(row) for row in range(table.size)] == ["line 1", "line 4"]


def test_label_column_is_refused(lines):
    with pytest.raises(InputError, match="has no column 'label'"):
        read_source(str(lines), ("text", "label"), label="label")


def test_empty_file_is_refused(tmp_path):
    (tmp_path / "texts.txt").write_text(" \n")

    with pytest.raises(InputError, match="it is empty"):
        read_source(str(tmp_path / "texts.txt"), ("text",), label="text")
