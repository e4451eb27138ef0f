"""JSON that somebody may have changed: read, checked against a type, or refused with its path."""

from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from pipeline.errors import InputError

Content = TypeVar("Content")

_OBJECT = TypeAdapter(dict[str, Any])


def read_json(path: Path, content: TypeAdapter[Content], *, expected: str, advice: str) -> Content:
    """Return what a JSON file holds.

    Args:
        path: The file.
        content: Type that the file's content must have.
        expected: The content in words, with its article: ``a teacher's description``.
        advice: A sentence that says what to do about a file that holds something else.

    Raises:
        InputError: when the file cannot be read, is not JSON, or holds something else.
    """
    try:
        return content.validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror}. {advice}") from error
    except ValidationError as error:
        is_json = error.errors()[0]["type"] != "json_invalid"
        kind = expected if is_json else "JSON"
        raise InputError(f"{path} is not {kind}: {first_problem(error)}. {advice}") from error


def read_object(path: Path, *, expected: str, advice: str) -> dict[str, Any]:
    """Return the object in a JSON file, whatever its keys; arguments and errors of `read_json`."""
    return read_json(path, _OBJECT, expected=expected, advice=advice)


def first_problem(error: ValidationError) -> str:
    """Return the first thing that is wrong, with its key, and how many more there are."""
    first = error.errors(include_url=False)[0]
    where = ".".join(map(str, first["loc"]))
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{where}: {first['msg']}{more}" if where else f"{first['msg']}{more}"
