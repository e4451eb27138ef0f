"""A TOML file and overrides to a `RunConfig`, with every problem reported at once."""

import difflib
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, Tag, ValidationError

from pipeline.config import RunConfig
from pipeline.errors import InputError


def load_config(path: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Return the config of a TOML file with ``key.path=value`` overrides applied.

    Raises:
        InputError: naming every unknown key, wrong type and broken bound at once.
    """
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"Cannot read the config {path}: {error}. Give a TOML file.") from error
    # tomllib refuses integers of many digits, and tables nested too deep, in words of its own.
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not valid TOML: {error}. Correct the file.") from error
    for override in overrides:
        _apply_override(tree, override)
    if any("\0" in text for text in _texts(tree)):  # no path and no name may hold one
        raise InputError(f"{path} holds a null byte in a value, as \\u0000. Leave it out.")
    try:
        return RunConfig.model_validate(tree)
    except ValidationError as error:
        raise InputError(_explain(error, origin=str(path))) from error


def change_config(config: RunConfig, values: Mapping[str, Any], *, origin: str) -> RunConfig:
    """Return a config with other values for some settings, by their full names.

    Args:
        origin: Where the values come from, for messages.

    Raises:
        InputError: for a name that is no setting, or a value that it does not take.
    """
    tree = config.model_dump(mode="json", by_alias=True, exclude_unset=True)
    for name, value in values.items():
        _set(tree, name, value, origin)
    try:
        return RunConfig.model_validate(tree)
    except ValidationError as error:
        raise InputError(_explain(error, origin=origin)) from error


def _texts(tree: Any) -> Iterator[str]:
    """Yield every text in parsed TOML, the keys included."""
    if isinstance(tree, str):
        yield tree
    elif isinstance(tree, dict | list):
        for part in tree:
            yield from _texts(part)
        if isinstance(tree, dict):
            yield from _texts(list(tree.values()))


def _apply_override(tree: dict[str, Any], override: str) -> None:
    """Set one ``a.b=value`` in the parsed TOML; a value that is not TOML is a string."""
    key, separator, text = override.partition("=")
    if not separator or not key.strip():
        raise InputError(f"--set expects key.path=value, found {override!r}.")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        value = text.strip()
    _set(tree, key.strip(), value, f"--set {override}")


def _set(tree: dict[str, Any], name: str, value: Any, origin: str) -> None:
    """Set a dotted name in parsed TOML."""
    *tables, leaf = name.split(".")
    for table in tables:
        tree = tree.setdefault(table, {})
        if not isinstance(tree, dict):
            raise InputError(f"{origin}: {table!r} is a value, not a table.")
    tree[leaf] = value


def _explain(error: ValidationError, *, origin: str) -> str:
    """Return one line per problem, with the key, what was found and a near miss."""
    problems: dict[str, list[str]] = {}
    for problem in error.errors(include_url=False):
        key, section = _locate(problem["loc"])
        if problem["type"] == "extra_forbidden":
            text = f"unknown key{_near_miss(str(problem['loc'][-1]), section)}"
        elif problem["type"] == "missing":
            text = "missing, and it has no default"
        else:
            found = "" if isinstance(problem["input"], dict) else f", found {problem['input']!r}"
            text = problem["msg"].removeprefix("Value error, ") + found
        problems.setdefault(key, []).append(text)
    count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
    lines = [f"  {key}: {'; or: '.join(texts)}" for key, texts in problems.items()]
    return "\n".join([f"{origin} has {count}:", *lines])


def _locate(location: tuple[int | str, ...]) -> tuple[str, type[BaseModel]]:
    """Return the key that pydantic's location names, and the section it stands in.

    A location also names the members of a union that were tried: they are no part of the key.
    """
    section: type[BaseModel] = RunConfig
    parts: list[str] = []
    choices: dict[str, type[BaseModel]] = {}
    for part in map(str, location):
        if part in choices:
            section, choices = choices[part], {}
            continue
        parts.append(part)
        fields = {field.alias or name: field for name, field in section.model_fields.items()}
        if part not in fields:
            break
        choices = _tagged(fields[part].annotation)
        inner = _section_of(fields[part].annotation)
        if inner is None and not choices:
            break
        section = inner or section
    return ".".join(parts) or "(whole config)", section


def _section_of(annotation: Any) -> type[BaseModel] | None:
    """Return the section behind a field's annotation, an optional one's too."""
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def _tagged(annotation: Any) -> dict[str, type[BaseModel]]:
    """Return the sections that a field chooses among, by pydantic's tag of each."""
    return {
        note.tag: get_args(member)[0]
        for member in get_args(annotation)
        for note in getattr(member, "__metadata__", ())
        if isinstance(note, Tag)
    }


def _near_miss(key: str, section: type[BaseModel]) -> str:
    """Return a hint naming the closest known key of the same table, or the known ones."""
    known = [field.alias or name for name, field in section.model_fields.items()]
    close = difflib.get_close_matches(key, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(known)}"
