import io
import sys
from types import SimpleNamespace

import pytest

from flows.cli.text_input import read_texts
from pipeline.errors import InputError


@pytest.fixture
def give_stdin(monkeypatch):
    """``give_stdin(data)``: standard input holds these bytes."""

    def give(data):
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))

    return give


def test_arguments_come_before_the_file(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_bytes(b"\xef\xbb\xbfb\tc\r\n\nd")

    assert read_texts(["a"], path) == [("a",), ("b\tc",), ("d",)]


def test_hyphen_is_standard_input(give_stdin):
    give_stdin(b"a\tb\n")

    assert read_texts(["-"], None, pairs=True) == [("a", "b")]


def test_hyphen_among_texts_is_refused():
    with pytest.raises(InputError, match="- reads standard input"):
        read_texts(["-", "a"], None)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("t.csv", {}),
        ("t.tsv", {}),
        ("t.jsonl", {}),
        ("t.parquet", {}),
        ("t.csv", {"pairs": True}),
        ("t.tsv", {"jsonl": True}),
    ],
)
def test_table_is_no_file_of_texts(tmp_path, name, options):
    """Its header and labels would be taken for texts."""
    (tmp_path / name).write_text("text,label\n")

    with pytest.raises(InputError, match="is a table by its name"):
        read_texts([], tmp_path / name, **options)


def test_pairs_and_json_at_once_are_refused():
    with pytest.raises(InputError, match="not both"):
        read_texts(["a"], None, pairs=True, jsonl=True)


def test_pairs_beside_texts_are_refused(tmp_path):
    path = tmp_path / "texts.jsonl"
    path.write_text('["a", "b"]')

    with pytest.raises(InputError, match="text 2 holds a pair"):
        read_texts(['"a"'], path, jsonl=True)
