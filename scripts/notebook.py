"""The example notebook, executed: examples/first_student.py becomes docs/guides/notebook.md.

    .venv/bin/python scripts/notebook.py      # runs every cell, and writes the page with outputs

Cells are parted by lines that begin with ``# %%``, as editors and Jupytext know them. A test holds
the code of the page equal to the script, and a slow test runs it.
"""

import ast
import contextlib
import io
import logging
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SCRIPT, PAGE = ROOT / "examples" / "first_student.py", ROOT / "docs" / "guides" / "notebook.md"
_SCRATCH = ROOT / "build" / "notebook"


def cells() -> Iterator[tuple[bool, str]]:
    """Yield (whether it is code, its text) of each cell."""
    parts = re.split(r"^# %%(.*)\n", SCRIPT.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    for kind, text in zip(parts[::2], parts[1::2], strict=True):
        if "markdown" in kind:
            yield False, "\n".join(line[2:] for line in text.strip().splitlines())
        else:
            yield True, text.strip()


def execute(code: str, names: dict[str, Any]) -> str:
    """Run a cell; return what it prints, and the value of a last expression, as a notebook does."""
    tree = ast.parse(code)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, str(SCRIPT), "exec"), names)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), str(SCRIPT), "eval"), names)
            if value is not None:
                print(repr(value))
    return printed.getvalue().rstrip()


def page() -> str:
    """Return the page: texts, code and outputs."""
    shutil.rmtree(_SCRATCH, ignore_errors=True)
    parts = ["<!-- Made by scripts/notebook.py of examples/first_student.py. -->"]
    names: dict[str, Any] = {}
    for is_code, text in cells():
        parts.append(f"```python\n{text}\n```" if is_code else text)
        if is_code and (output := execute(text, names)):
            parts.append(f"```text\n{output}\n```")
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    logging.basicConfig(level=logging.WARNING)
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE.relative_to(ROOT))
