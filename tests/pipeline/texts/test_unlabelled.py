import gzip

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import InputError
from pipeline.texts.mapped import text_table
from pipeline.texts.tables import Split, write_split
from pipeline.texts.unlabelled import (
    empty_labels,
    expand_sources,
    read_transfer_texts,
    read_unlabelled,
    read_unlabelled_source,
    unlabelled_writer,
)


@pytest.fixture
def folder(tmp_path):
    """A folder with one file of each kind, and one that is no data."""
    (tmp_path / "inner").mkdir()
    (tmp_path / "a.txt").write_text("one\n\ntwo, with a comma\n")
    (tmp_path / "b.csv").write_text('text,other\nthree,1\n"four, quoted",2\n')
    (tmp_path / "c.jsonl").write_text('{"text": "five"}\n{"text": ""}\n')
    pq.write_table(pa.table({"text": ["six"]}), tmp_path / "inner" / "d.parquet")
    pq.write_table(pa.table({"text": ["seven"]}), tmp_path / "inner" / "b.parquet")
    (tmp_path / "notes.md").write_text("no data")
    return tmp_path


def texts_of(*sources, columns=("text",), **options):
    return [
        text
        for source in expand_sources(list(map(str, sources)))
        for part in read_unlabelled_source(source, columns, **options)
        for text in part
    ]


def test_folder_stands_for_all_files_in_it_in_a_fixed_order(folder):
    assert texts_of(folder / "inner") == [("seven",), ("six",)]


def test_pattern_stands_for_the_files_that_match_it(folder):
    assert texts_of(folder / "*.csv", folder / "**/*.parquet") == [
        ("three",),
        ("four, quoted",),
        ("seven",),
        ("six",),
    ]


@pytest.mark.parametrize("name", [".c.jsonl.crc", "_SUCCESS"])
def test_files_that_programs_leave_for_themselves_are_left_out(folder, name):
    (folder / "inner" / name).write_text("no data")

    assert texts_of(folder / "inner") == texts_of(folder / "inner" / "*") == [("seven",), ("six",)]


@pytest.mark.parametrize("reference", ["*.tsv", "inner/*.csv"])
def test_pattern_without_files_is_refused(folder, reference):
    with pytest.raises(InputError, match="holds no file"):
        expand_sources([str(folder / reference)])


@pytest.mark.parametrize("reference", ["", "*"])
def test_file_of_an_unknown_kind_is_refused_by_name(folder, reference):
    with pytest.raises(InputError, match=r"notes\.md, expected files ending in"):
        expand_sources([str(folder / reference)])


def test_files_of_several_kinds_are_refused_by_name(folder):
    (folder / "notes.md").unlink()

    with pytest.raises(InputError, match=r"several kinds, such as .*a\.txt and .*b\.csv and .*c\."):
        expand_sources([str(folder)])


def test_missing_column_is_refused(folder):
    with pytest.raises(InputError, match="no column 'review'"):
        texts_of(folder / "b.csv", columns=["review"])


def test_pairs_are_not_read_from_lines(folder):
    with pytest.raises(InputError, match="this run reads pairs"):
        texts_of(folder / "a.txt", columns=["text_a", "text_b"])


def test_text_that_is_not_utf8_is_refused(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"tea\ncaf\xe9\n")

    with pytest.raises(InputError, match=r"line 2 is not UTF-8.*Convert it"):
        texts_of(tmp_path / "a.txt")


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.txt", " \n\n"), ("a.jsonl", '{"text": ""}\n{"text": null}\n'), ("a.csv", "text,b\n,1\n")],
)
def test_source_without_any_text_is_refused_by_name(tmp_path, name, content):
    (tmp_path / name).write_text(content)

    with pytest.raises(InputError, match=f"{name} holds no text"):
        texts_of(tmp_path / name)


@pytest.mark.parametrize("size", [1, 2, 3, 100])
@pytest.mark.parametrize("kind", ["txt", "jsonl", "parquet", "txt.gz", "jsonl.gz"])
def test_parts_of_any_size_are_the_whole(tmp_path, kind, size):
    texts, path = ["a", "b  c", "d", "é", "f"], tmp_path / f"texts.{kind}"
    lines = {
        "txt": "\n".join(["a", "", "b  c\r", "d", "é", "f"]),
        "jsonl": "\n".join(f'{{"text": "{text}", "n": 1}}' for text in texts),
    }
    if kind == "parquet":
        pq.write_table(pa.table({"text": texts, "n": range(5)}), path)
    else:
        plain = lines[kind.removesuffix(".gz")].encode()
        path.write_bytes(gzip.compress(plain) if kind.endswith("gz") else plain)

    parts = list(read_unlabelled_source(str(path), ["text"], size=size))

    assert [text for part in parts for (text,) in part] == texts
    assert max(map(len, parts)) == min(size, 5)


def test_key_that_the_first_rows_lack_is_found(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"n": 1}\n{"n": 2}\n{"text ": "last"}\n')

    assert texts_of(tmp_path / "a.jsonl", size=1) == [("last",)]


def test_cell_that_is_no_text_is_refused_with_its_place(tmp_path):
    pq.write_table(pa.table({"text": [["a"], ["b"]]}), tmp_path / "a.parquet")
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n\n{"text": 7}\n')

    with pytest.raises(InputError, match=r"lists, expected text .first in row 1"):
        texts_of(tmp_path / "a.parquet", size=1)
    with pytest.raises(InputError, match=r"numbers, expected text .first in line 3"):
        texts_of(tmp_path / "a.jsonl", size=1)


def test_damaged_line_and_damaged_archive_are_refused(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n{"text": \n')
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"one\ntwo\n")[:-6])
    (tmp_path / "b.txt.gz").write_bytes(b"one\ntwo\n")

    with pytest.raises(InputError, match="line 2, column 10 is no JSON"):
        texts_of(tmp_path / "a.jsonl")
    for name in ("a.txt.gz", "b.txt.gz"):
        with pytest.raises(InputError, match=f"Cannot read the file .*{name}"):
            texts_of(tmp_path / name)


@pytest.mark.parametrize("size", [None, 0, 1, 3, 25_000])
def test_texts_are_read_as_they_were_written(tmp_path, size):
    texts = [(f"text {number}", f"other {number}") for number in range(20_500)]
    with unlabelled_writer(tmp_path) as writer:
        writer.write(text_table([], 2))
        writer.write(text_table(texts[:3], 2))
        writer.write(text_table(texts[3:], 2))

    found = read_unlabelled(tmp_path, size)

    assert list(found) == texts[:size]
    assert [found[number] for number in range(len(found))][:5] == texts[:size][:5]
    assert list(found[2:7]) == texts[:size][2:7]


@pytest.mark.parametrize(("size", "expected"), [(None, "abcd"), (3, "abc"), (1, "a")])
def test_unlabelled_texts_follow_the_training_texts(tmp_path, size, expected):
    write_split(Split(texts=(("a",), ("b",)), labels=np.array([0, 1])), tmp_path / "train.parquet")
    with unlabelled_writer(tmp_path) as writer:
        writer.write(text_table([("c",), ("d",)], 1))

    assert "".join(text for (text,) in read_transfer_texts(tmp_path, tmp_path, size)) == expected


def test_texts_without_labels_have_some_that_mean_nothing():
    assert empty_labels([("c",)], np.array([1, 2]), per_word=False).tolist() == [0]
    assert empty_labels([("c",)], np.array([[1, 2]]), per_word=False).tolist() == [[0, 0]]


def test_words_of_texts_without_labels_have_none():
    labels = empty_labels([("c d e",), ("f",)], np.array([[1, 2]]), per_word=True)

    assert labels.tolist() == [[-100, -100, -100], [-100, -100, -100]]
