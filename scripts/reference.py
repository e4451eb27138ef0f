"""Pages of the documentation that are made from the code: commands, configuration, Python API.

    .venv/bin/python scripts/reference.py      # writes them; a test holds them current

The commands' help, the config classes' docstrings and the API's docstrings are the only source.
"""

import inspect
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from typer.models import ArgumentInfo, OptionInfo

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import adapter_distill  # noqa: E402 - found by ROOT
from flows.cli.main import app  # noqa: E402 - found by ROOT
from pipeline.config import AdapterConfig, AdapterSource, RunConfig  # noqa: E402 - found by ROOT
from pipeline.config.sweep import VariedRange  # noqa: E402 - found by ROOT
from pipeline.release.challenge import ChallengeConfig  # noqa: E402 - found by ROOT

MADE = "<!-- Made by scripts/reference.py. Change the docstrings in the code instead. -->\n"


def pages() -> dict[Path, str]:
    """Return the text of each page by its path."""
    folder = ROOT / "docs" / "reference"
    return {
        folder / "commands.md": commands_page(),
        folder / "configuration.md": configuration_page(),
        folder / "python.md": python_page(),
    }


def commands_page() -> str:
    """Return every command with its options."""
    found = list(_commands("adapter-distill", app))
    rows = [f"| [`{name}`](#{_anchor(name)}) | {_summary(each)} |" for name, each in found]
    parts = [
        MADE,
        "# Commands\n",
        "`adapter-distill COMMAND --help` prints the same text.\n",
        "\n".join(["| command | what it does |", "|---|---|", *rows, ""]),
        *(_command(name, each) for name, each in found),
    ]
    return "\n".join(parts)


def _commands(prefix: str, group: typer.Typer) -> Iterator[tuple[str, Callable[..., None]]]:
    for command in group.registered_commands:
        assert command.callback is not None
        yield f"{prefix} {command.name}", command.callback
    for inner in group.registered_groups:
        assert inner.typer_instance is not None
        yield from _commands(f"{prefix} {inner.name}", inner.typer_instance)


def _command(name: str, command: Callable[..., None]) -> str:
    paragraphs = re.split(r"\n\s*\n", inspect.getdoc(command) or "")
    text = "\n\n".join(_one_line(each) for each in paragraphs)
    parameters = list(inspect.signature(command, eval_str=True).parameters.values())
    given = [each.name.upper() for each in parameters if isinstance(_info(each), ArgumentInfo)]
    usage = " ".join([name, *given, "[OPTIONS]"])
    table = ["| argument or option | default | what it does |", "|---|---|---|"]
    table += map(_parameter, parameters)
    return "\n".join([f"## {name}\n", f"```\n{usage}\n```\n", f"{text}\n", *table, ""])


def _info(given: inspect.Parameter) -> ArgumentInfo | OptionInfo:
    found: ArgumentInfo | OptionInfo = get_args(given.annotation)[1]
    return found


def _parameter(given: inspect.Parameter) -> str:
    """Return an argument or an option as a row."""
    info, kind = _info(given), get_args(given.annotation)[0]
    if isinstance(info, ArgumentInfo):
        names = given.name.upper()
    else:
        # The first name may stand where a default may.
        named = [info.default] if isinstance(info.default, str) else []
        named += [each for each in info.param_decls or () if each not in named]
        flag = given.name.replace("_", "-")
        if kind is bool:
            names = ", ".join(named or [f"--{flag}", f"--no-{flag}"])
        else:
            names = f"{', '.join(named or [f'--{flag}'])} {info.metavar or _name_of(kind)}"
    help_text = _one_line(info.help or "")
    if info.envvar:
        help_text += f" Environment variable: `{info.envvar}`."
    is_empty = given.default in (None, False, ())
    if given.default is inspect.Parameter.empty:
        default = "required"
    else:
        default = "" if is_empty else f"`{given.default}`"
    return f"| {_code(names)} | {default} | {help_text} |"


def _code(text: str) -> str:
    """Return text as code in a table's cell, where a bar would end the cell."""
    return (
        "`"
        + text.replace("`", "").replace("\\|", "|").replace(" | ", "|").replace("|", "\\|")
        + "`"
    )


def _summary(command: Callable[..., None]) -> str:
    return _one_line(re.split(r"\n\s*\n", inspect.getdoc(command) or "")[0])


def configuration_page() -> str:
    """Return every table of a config with its fields."""
    parts = [
        MADE,
        "# Configuration\n",
        "A config is a TOML file. `--set table.field=VALUE` overrides one field, and\n"
        "`adapter-distill config FILE` prints a config with every default filled in. Unknown\n"
        "fields are refused. The forms of the Prefect UI have the same fields.\n",
        _section(
            "Top level", RunConfig, [n for n, f in RunConfig.model_fields.items() if not _table(f)]
        ),
    ]
    for name, field in RunConfig.model_fields.items():
        table = _table(field)
        if table is not None:
            parts += _sections(name, table, field.description or "")
    parts += [
        "## `rule` of a retraining\n",
        "The deployment `retrain/scheduled` has these fields beside the config.\n",
        _rows(ChallengeConfig, list(ChallengeConfig.model_fields)),
    ]
    return "\n".join(parts)


def _sections(name: str, table: type[BaseModel], description: str) -> Iterator[str]:
    nested = {key: inner for key, field in table.model_fields.items() if (inner := _table(field))}
    plain = [key for key in table.model_fields if key not in nested and key != "adapter"]
    yield _section(f"`[{name}]`", table, plain, description)
    if name == "teacher":
        yield _section(
            "`[teacher.adapter]`, trained", AdapterConfig, list(AdapterConfig.model_fields)
        )
        yield _section(
            "`[teacher.adapter]`, existing", AdapterSource, list(AdapterSource.model_fields)
        )
    if name == "sweep":
        yield _section("A range in `sweep.over`", VariedRange, list(VariedRange.model_fields))
    for key, inner in nested.items():
        yield from _sections(f"{name}.{key}", inner, table.model_fields[key].description or "")


def _section(title: str, table: type[BaseModel], names: list[str], description: str = "") -> str:
    text = _one_line(description or inspect.cleandoc(table.__doc__ or ""))
    return "\n".join([f"## {title}\n", f"{text}\n", _rows(table, names)])


def _rows(table: type[BaseModel], names: list[str]) -> str:
    rows = ["| field | type | default | meaning |", "|---|---|---|---|"]
    for name in names:
        field = table.model_fields[name]
        default = "required" if field.is_required() else f"`{_default(field)}`"
        meaning = _one_line(field.description or "")
        rows.append(f"| `{field.alias or name}` | {_type(field)} | {default} | {meaning} |")
    return "\n".join([*rows, ""])


def _table(field: FieldInfo) -> type[BaseModel] | None:
    """Return the config class of a field that is a table of its own."""
    for kind in (field.annotation, *get_args(field.annotation)):
        if inspect.isclass(kind) and issubclass(kind, BaseModel):
            return None if kind in (AdapterConfig, AdapterSource) else kind
    return None


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return str(list(value) if isinstance(value, tuple) else value)


def _type(field: FieldInfo) -> str:
    bounds = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    limits = [
        f"{sign} {value}"
        for entry in field.metadata
        for name, sign in bounds.items()
        if (value := getattr(entry, name, None)) is not None
    ]
    return ", ".join([_name_of(field.annotation), *limits])


def _name_of(kind: Any) -> str:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _name_of(arguments[0])
    if origin is Literal:
        return " \\| ".join(f"`{each}`" for each in arguments)
    if origin in (Union, UnionType):
        return " \\| ".join(dict.fromkeys(_name_of(a) for a in arguments if a is not NoneType))
    if origin is tuple:
        return f"list of {_name_of(arguments[0])}"
    if origin is dict:
        return f"table of {_name_of(arguments[1])}"
    if inspect.isclass(kind) and issubclass(kind, BaseModel):
        return f"`{{ {', '.join(kind.model_fields)} }}`"
    named = {"str": "text", "int": "whole number", "float": "number", "bool": "true or false"}
    name = getattr(kind, "__name__", str(kind))
    return {**named, "Path": "path"}.get(name, name)


def python_page() -> str:
    """Return the docstrings of the Python API."""
    lines = inspect.cleandoc(adapter_distill.__doc__ or "").splitlines()
    parts = [MADE, "# Python\n", _docstring("\n".join(lines))]
    for name in adapter_distill.__all__:
        each = getattr(adapter_distill, name)
        signature = "" if inspect.isclass(each) else f"\n```python\n{name}{_signature(each)}\n```\n"
        parts.append(f"## {name}\n{signature}\n{_docstring(inspect.cleandoc(each.__doc__ or ''))}")
    return "\n".join(parts)


def _signature(function: Any) -> str:
    text = str(inspect.signature(function)).replace("collections.abc.", "").replace("pathlib.", "")
    return re.sub(r"(adapter_distill|pipeline)(\.\w+)*\.|os\.|typing\.|'", "", text)


def _docstring(text: str) -> str:
    """Return a docstring as Markdown: examples and lists of arguments in their own blocks."""
    out: list[str] = []
    in_example = False
    for line in text.splitlines():
        if line.startswith(">>>") and not in_example:
            out.append("```pycon")
            in_example = True
        elif in_example and not line.strip():
            out.append("```")
            in_example = False
        if re.fullmatch(r"(Args|Returns|Raises):", line):
            out.append(f"**{line[:-1]}**")
            out.append("")
        elif match := re.match(r"    (\w+): (.*)", line):
            out.append(f"- `{match[1]}`: {match[2]}".replace("``", "`"))
        elif line.startswith("        "):
            out.append(f"  {line.strip()}".replace("``", "`"))
        else:
            out.append(line if in_example else line.replace("``", "`"))
    if in_example:
        out.append("```")
    return "\n".join(out) + "\n"


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("``", "`").replace("|", "\\|")


def _anchor(name: str) -> str:
    return name.replace(" ", "-")


if __name__ == "__main__":
    for path, text in pages().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(path.relative_to(ROOT))
