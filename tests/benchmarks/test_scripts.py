import ast
import importlib
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


SCRIPTS = sorted(path.stem for path in FOLDER.glob("*.py"))


# They are run by hand, so that a name that moved would be found months later.
@pytest.mark.parametrize("script", SCRIPTS)
def test_script_can_be_imported(script):
    assert importlib.import_module(f"benchmarks.{script}").__doc__


@pytest.mark.parametrize("script", SCRIPTS)
def test_script_drives_the_chain_without_prefect(script):
    tree = ast.parse((FOLDER / f"{script}.py").read_text(encoding="utf-8"))

    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    modules |= {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    assert not {"prefect", "flows"} & {str(module).partition(".")[0] for module in modules}


def imported_names(script):
    """Return (module, name) of everything that a script imports from the project."""
    tree = ast.parse((FOLDER / f"{script}.py").read_text(encoding="utf-8"))
    return [
        (node.module, alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module.startswith(("pipeline", "models"))
        for alias in node.names
    ]


@pytest.mark.parametrize("script", SCRIPTS)
def test_names_that_a_script_imports_later_are_there_too(script):
    for module, name in imported_names(script):
        assert hasattr(importlib.import_module(module), name)
