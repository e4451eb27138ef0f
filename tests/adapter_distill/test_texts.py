import pytest

from adapter_distill.texts import as_texts
from pipeline.errors import InputError


def test_strings_and_pairs_become_tuples():
    assert as_texts(["a", "b"]) == [("a",), ("b",)]
    assert as_texts([("a", "b")]) == [("a", "b")]


@pytest.mark.parametrize("given", ["one string", [3], [("a", "b", "c")], [None], ["a", ("b", "c")]])
def test_everything_else_is_refused(given):
    with pytest.raises(InputError):
        as_texts(given)
