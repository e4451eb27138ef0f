import pytest
from pydantic import TypeAdapter

from pipeline.errors import InputError
from pipeline.store.json_files import read_json, read_object

NUMBERS = TypeAdapter(dict[str, list[int]])


def read(path):
    return read_json(path, NUMBERS, expected="a table of numbers", advice="Write it again.")


def test_content_of_the_expected_type_is_returned(tmp_path):
    (tmp_path / "a.json").write_text('{"a": [1, 2]}')

    assert read(tmp_path / "a.json") == {"a": [1, 2]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not JSON: .*EOF"),
        (b"\xff\xfe", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[]", "is not a table of numbers: Input should be an object"),
        (b'{"a": ["x", "y"]}', r"is not a table of numbers: a\.0: .*integer.* \(and 1 more\)"),
    ],
    ids=["empty", "not UTF-8", "nested deeply", "list", "wrong types"],
)
def test_other_content_is_refused_with_path_key_and_advice(tmp_path, content, message):
    path = tmp_path / "a.json"
    path.write_bytes(content)

    with pytest.raises(InputError, match=f"^{path} {message}.*Write it again.$"):
        read(path)


@pytest.mark.parametrize("kind", ["missing", "folder"])
def test_file_that_cannot_be_read_is_refused(tmp_path, kind):
    path = tmp_path / "a.json"
    if kind == "folder":
        path.mkdir()

    with pytest.raises(InputError, match=f"^Cannot read {path}: .*Write it again.$"):
        read(path)


def test_object_may_have_any_keys(tmp_path):
    (tmp_path / "a.json").write_text('{"b": null}')

    assert read_object(tmp_path / "a.json", expected="x", advice="y") == {"b": None}
