import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import InputError
from pipeline.texts.tables import Split
from pipeline.texts.unlabelled import (
    UnlabelledWriter,
    add_unlabelled,
    expand_sources,
    read_unlabelled,
    read_unlabelled_source,
)


@pytest.fixture
def folder(tmp_path):
    """A folder with one file of each kind, and one that is no data."""
    (tmp_path / "inner").mkdir()
    (tmp_path / "a.txt").write_text("one\n\ntwo, with a comma\n")
    (tmp_path / "b.csv").write_text('text,other\nthree,1\n"four, quoted",2\n')
    (tmp_path / "c.jsonl").write_text('{"text": "five"}\n{"text": ""}\n')
    pq.write_table(pa.table({"text": ["six"]}), tmp_path / "inner" / "d.parquet")
    (tmp_path / "notes.md").write_text("no data")
    return tmp_path


def texts_of(sources):
    return [text for source in sources for (text,) in read_unlabelled_source(source, ["text"])]


def test_folder_stands_for_all_files_in_it_in_a_fixed_order(folder):
    sources = expand_sources([str(folder)])

    assert texts_of(sources) == ["one", "two, with a comma", "three", "four, quoted", "five", "six"]


def test_pattern_stands_for_the_files_that_match_it(folder):
    assert texts_of(expand_sources([str(folder / "*.csv"), str(folder / "**/*.parquet")])) == [
        "three",
        "four, quoted",
        "six",
    ]


@pytest.mark.parametrize("reference", ["*.tsv", "inner/*.csv"])
def test_pattern_without_files_is_refused(folder, reference):
    with pytest.raises(InputError, match="holds no file ending in"):
        expand_sources([str(folder / reference)])


def test_missing_column_is_refused(folder):
    with pytest.raises(InputError, match="no column 'review'"):
        read_unlabelled_source(str(folder / "b.csv"), ["review"])


def test_pairs_are_not_read_from_lines(folder):
    with pytest.raises(InputError, match="this run reads pairs"):
        read_unlabelled_source(str(folder / "a.txt"), ["text_a", "text_b"])


def test_text_that_is_not_utf8_is_refused(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"caf\xe9\n")

    with pytest.raises(InputError, match="Convert it to UTF-8"):
        read_unlabelled_source(str(tmp_path / "a.txt"), ["text"])


@pytest.mark.parametrize("size", [None, 0, 1, 3, 25_000])
def test_texts_are_read_as_they_were_written(tmp_path, size):
    texts = [(f"text {number}", f"other {number}") for number in range(20_500)]
    writer = UnlabelledWriter(tmp_path, columns=2)
    writer.write(texts[:3])
    writer.write(texts[3:])
    writer.close()

    assert read_unlabelled(tmp_path, size) == tuple(texts[:size])


def test_added_texts_have_labels_that_mean_nothing():
    split = Split(texts=(("a",), ("b",)), labels=np.array([1, 2]))

    more = add_unlabelled(split, [("c",)], per_word=False)

    assert more.texts == (("a",), ("b",), ("c",))
    assert more.labels.tolist() == [1, 2, 0]


def test_words_of_added_texts_have_no_label():
    split = Split(texts=(("a b",),), labels=np.array([[1, 2]]))

    more = add_unlabelled(split, [("c d e",)], per_word=True)

    assert more.labels.tolist() == [[1, 2, -100], [-100, -100, -100]]
