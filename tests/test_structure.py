"""The house rules that a reader relies on, held over every file of the product."""

import ast
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("models", "pipeline", "flows", "adapter_distill")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef
MOST_LINES, MOST_BODY, MOST_ARGUMENTS = 300, 40, 7


def functions():
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, FUNCTIONS):
                yield path.relative_to(ROOT), node


def body_lines(function):
    statements = function.body
    first = statements[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
        statements = statements[1:]  # the docstring
    return statements[-1].end_lineno - statements[0].lineno + 1 if statements else 0


def argument_names(function):
    arguments = function.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return [each.arg for each in every if each.arg not in ("self", "cls")]


def public_names(path):
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef | FUNCTIONS):
            yield node.name
        elif isinstance(node, ast.Assign) and not is_type_variable(node.value):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))


def is_type_variable(value):
    called = value.func if isinstance(value, ast.Call) else None
    return isinstance(called, ast.Name) and called.id in ("TypeVar", "TypeVarTuple", "ParamSpec")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_file_is_short_enough_to_be_read_at_once(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


def test_bodies_are_short():
    long = {
        f"{path}:{function.name}": body_lines(function)
        for path, function in functions()
        if body_lines(function) > MOST_BODY
    }

    assert long == {}


def test_signatures_are_short_outside_the_command_line():
    wide = {
        f"{path}:{function.name}": argument_names(function)
        for path, function in functions()
        if len(argument_names(function)) > MOST_ARGUMENTS and path.parts[:2] != ("flows", "cli")
    }

    assert wide == {}


def test_public_name_stands_for_one_thing():
    where = defaultdict(set)
    for path in FILES:
        # The Python API names what others do by the same names: that is what it is for.
        is_api = path.is_relative_to(ROOT / "adapter_distill")
        for name in () if is_api else public_names(path):
            if not name.startswith("_") and name != "logger":
                where[name].add(str(path.relative_to(ROOT)))

    assert {name: sorted(paths) for name, paths in where.items() if len(paths) > 1} == {}


def test_pipeline_holds_rooms_alone():
    flat = {path.name for path in (ROOT / "pipeline").glob("*.py")}

    assert flat == {"__init__.py", "errors.py"}


def test_code_looks_for_files_beside_itself_in_few_places():
    """A wheel has the packages alone: what each of these finds there is in test_wheel.py."""
    looking = {
        path.relative_to(ROOT).as_posix()
        for path in FILES
        if any(
            isinstance(node, ast.Name) and node.id == "__file__"
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        )
    }

    assert looking == {
        "adapter_distill/rooms.py",  # the packages themselves
        "flows/names.py",  # prefect.yaml, which setup.py copies into the wheel
        "flows/up/installation.py",  # the packages themselves
        "pipeline/workers/guardian.py",  # itself
    }


def test_both_images_hold_every_package():
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()

    assert {name: lines.count(f"COPY {name} {name}") for name in PACKAGES} == dict.fromkeys(
        PACKAGES, 2
    )
