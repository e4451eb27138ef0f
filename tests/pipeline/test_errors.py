import ast
from pathlib import Path

import pytest

from pipeline import errors
from pipeline.errors import InputError, UnreachableError, refusing
from pipeline.serving.errors import RequestError
from pipeline.workers.child import BuildKilledError


class PanicException(BaseException):
    """Named like what the tokenizers library raises."""


@pytest.mark.parametrize("error", [ValueError, KeyError, MemoryError, OSError, PanicException])
def test_refusing_makes_one_message_of_whatever_a_library_raises(error):
    with (
        pytest.raises(InputError, match=r"^Cannot read PATH: .*first line.*\. Get it anew\.$"),
        refusing("Cannot read PATH", "Get it anew."),
    ):
        raise error("first line\nsecond line")


def test_refusing_names_the_kind_of_an_error_without_a_message():
    with pytest.raises(InputError, match=r"PATH: IndexError\. Advice"), refusing("PATH", "Advice."):
        raise IndexError


@pytest.mark.parametrize("error", [InputError, UnreachableError, KeyboardInterrupt, SystemExit])
def test_refusing_lets_pass_what_is_clear_already(error):
    with pytest.raises(error, match=r"^as it is$"), refusing("Cannot read PATH", "Get it anew."):
        raise error("as it is")


def test_command_line_prints_everything_that_is_told_to_a_user():
    for kind in (InputError, BuildKilledError, RequestError):
        assert issubclass(kind, errors.ProjectError)
    assert issubclass(InputError, ValueError)
    assert issubclass(BuildKilledError, RuntimeError)


def test_tree_names_every_exception_of_the_project():
    found = {
        node.name
        for package in ("models", "pipeline", "flows")
        for path in Path(package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef) and node.name.endswith("Error")
    }

    assert found
    assert {name for name in found if name not in str(errors.__doc__)} == set()
