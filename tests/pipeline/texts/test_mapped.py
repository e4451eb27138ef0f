import numpy as np
import pyarrow as pa
import pytest

from pipeline.errors import InputError
from pipeline.texts.mapped import (
    NumberLists,
    StoredTexts,
    TableWriter,
    as_lists,
    map_table,
    store_texts,
)

ROWS = [[1, 2], [], [3], [4, 5, 6], [7]]


def test_lists_of_several_parts_are_read_row_by_row(tmp_path):
    with TableWriter(tmp_path / "rows.arrow") as writer:
        for part in (ROWS[:2], ROWS[2:4], ROWS[4:]):
            writer.write(pa.table({"numbers": as_lists(part, np.int32)}))

    lists = NumberLists(map_table(tmp_path / "rows.arrow").column("numbers"))

    assert [row.tolist() for row in lists] == ROWS
    assert [row.tolist() for row in lists[1:4]] == ROWS[1:4]
    assert lists.lengths.tolist() == [2, 0, 1, 3, 1]
    with pytest.raises(IndexError):
        lists[5]


def test_file_has_its_name_only_when_it_is_whole(tmp_path):
    def write():
        with TableWriter(tmp_path / "rows.arrow") as writer:
            writer.write(pa.table({"numbers": [1]}))
            assert not (tmp_path / "rows.arrow").exists()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()

    assert list(tmp_path.iterdir()) == []


def test_damaged_file_is_refused(tmp_path):
    (tmp_path / "rows.arrow").write_bytes(b"no table")

    with pytest.raises(InputError, match=r"Cannot read the file .*rows\.arrow"):
        map_table(tmp_path / "rows.arrow")


@pytest.mark.parametrize("texts", [[("a",), ("b",), ("c",)], [("a", "b"), ("c", "d"), ("e", "é")]])
def test_stored_texts_are_a_sequence_of_them(texts):
    stored = store_texts(texts)

    assert list(stored) == texts
    assert (len(stored), stored[0], stored[2]) == (3, texts[0], texts[2])
    assert isinstance(stored[1:], StoredTexts)
    assert list(stored[1:]) == list(stored[:2].and_then(stored[2:])[1:]) == texts[1:]
    assert list(stored[2:1]) == []
