"""Options of a command, made of the fields of a config class.

An option takes name, type, default, bounds and help from its field. Each is therefore written once,
in the class that the command's function takes.
"""

import copy
import functools
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, TypeVar, get_args, get_origin

import typer
from pydantic import BaseModel, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from typer.models import ArgumentInfo, OptionInfo

from pipeline.errors import InputError

Settings = TypeVar("Settings", bound=BaseModel)
Shown = ArgumentInfo | OptionInfo


def with_options_of(
    settings: type[Settings], **shown: Shown
) -> Callable[[Callable[[Settings], None]], Callable[..., None]]:
    """Return a decorator: a command of one argument gets an option for each of its fields.

    Args:
        settings: Class of that argument, with a docstring under each field.
        shown: How a field is given that is not simply ``--its-name``: as an argument, under
            another name, or by an environment variable.
    """

    def decorate(command: Callable[[Settings], None]) -> Callable[..., None]:
        parameters = [
            _parameter(name, field, shown.get(name, typer.Option()))
            for name, field in settings.model_fields.items()
        ]
        parameters.sort(key=lambda each: not isinstance(shown.get(each.name), ArgumentInfo))

        @functools.wraps(command)
        def run(**given: Any) -> None:  # Any: the values of options of any type
            command(_validated(settings, shown, given))

        # Typer reads it through inspect, which documents it.
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined] # no stub has it
        run.__annotations__ = {each.name: each.annotation for each in parameters}
        return run

    return decorate


def help_of(settings: type[BaseModel], name: str) -> str:
    """Return the help of a field: its docstring, without markup."""
    return _plain(settings.model_fields[name].description)


def _plain(description: str | None) -> str:
    return " ".join((description or "").replace("``", "").split())


def _parameter(name: str, field: FieldInfo, shown: Shown) -> inspect.Parameter:
    """Return what typer makes the option of."""
    shown = copy.copy(shown)
    shown.help = _plain(field.description)
    for bound in field.metadata:
        shown.min = getattr(bound, "ge", shown.min)
        shown.max = getattr(bound, "le", shown.max)
    default = field.get_default(call_default_factory=True)
    is_several = isinstance(default, tuple | dict)
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=inspect.Parameter.empty if field.is_required() else None if is_several else default,
        annotation=Annotated[_type_of(field), shown],
    )


def _type_of(field: FieldInfo) -> Any:  # Any: a type, which typer looks at
    """Return the type that typer reads: tables are given as NAME=VALUE, secrets as they are."""
    members = [each for each in get_args(field.annotation) if each is not NoneType]
    if get_origin(field.annotation) in (tuple, dict):
        return list[str] | None
    if SecretStr in (field.annotation, *members):
        return str | None
    return field.annotation


def _validated(
    settings: type[Settings], shown: Mapping[str, Shown], given: Mapping[str, Any]
) -> Settings:
    values: dict[str, Any] = {}
    for name, value in given.items():
        field = settings.model_fields[name]
        if get_origin(field.annotation) is dict:
            values[name] = dict(_pair(_option_name(name, shown), each) for each in value or ())
        elif get_origin(field.annotation) is tuple:
            values[name] = tuple(value or ())
        else:
            values[name] = value or None if _type_of(field) == str | None else value
    try:
        return settings.model_validate(values)
    except ValidationError as error:
        problems = [
            f"{_option_name(str(each['loc'][0]), shown)}: {each['msg']}, found {each['input']!r}"
            for each in error.errors(include_url=False)
        ]
        raise InputError(f"{'; '.join(problems)}. Give another value.") from error


def _option_name(field: str, shown: Mapping[str, Shown]) -> str:
    """Return what a user writes for a field."""
    how = shown.get(field)
    if isinstance(how, ArgumentInfo):
        return field
    named = how.default if how is not None and isinstance(how.default, str) else None
    return named or f"--{field.replace('_', '-')}"


def _pair(option: str, text: str) -> tuple[str, Path]:
    name, sign, folder = text.partition("=")
    if not sign or not name or not folder:
        raise InputError(f"{option} expects NAME=FOLDER, found {text!r}.")
    return name, Path(folder)
