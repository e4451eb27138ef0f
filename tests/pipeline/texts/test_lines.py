import bz2
import gzip
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.texts.lines import in_parts, kind_of, numbered_lines

LINES = ["one", "two\r", "", "th\x0bree\u2028", "é"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("end", ["", "\n"])
def test_lines_end_at_line_feeds_alone(tmp_path, encoding, end):
    (tmp_path / "a.txt").write_bytes(("\n".join(LINES) + end).encode(encoding))

    found = [(number, line) for number, line in numbered_lines(tmp_path / "a.txt") if line]

    assert found == [(number, line) for number, line in enumerate(LINES, start=1) if line]


@pytest.mark.parametrize(("end", "compress"), [(".gz", gzip.compress), (".bz2", bz2.compress)])
def test_compressed_lines_are_read_by_the_end_of_the_name(tmp_path, end, compress):
    path = tmp_path / f"a.txt{end}"
    path.write_bytes(compress("\n".join(LINES).encode()))

    assert [line for _, line in numbered_lines(path)] == LINES


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (gzip.compress(b"one"), "it is compressed with gzip"),
        (b"one\ntwo\ncaf\xe9\n", "line 3 is not UTF-8"),
        (b"one\nt\0wo\n", "line 2 holds a NUL"),
    ],
)
def test_what_is_no_text_is_refused_with_its_line(tmp_path, content, said):
    (tmp_path / "a.txt").write_bytes(content)

    with pytest.raises(InputError, match=said):
        list(numbered_lines(tmp_path / "a.txt"))


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"Cannot read the file .*a\.txt"):
        list(numbered_lines(tmp_path / "a.txt"))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.txt", ".txt"),
        ("a.TXT.GZ", ".txt"),
        ("a.b.jsonl.zst", ".jsonl"),
        ("a.csv.gz", ".gz"),
        ("a.tar.gz", ".gz"),
        ("a.gz", ".gz"),
        ("a", ""),
    ],
)
def test_kind_of_a_file_is_that_of_its_content(name, kind):
    assert kind_of(Path(name)) == kind


def test_parts_are_of_one_size_but_for_the_last():
    assert list(in_parts(range(5), 2)) == [[0, 1], [2, 3], [4]]
    assert list(in_parts([], 2)) == []
