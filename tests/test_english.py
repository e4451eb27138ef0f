"""Docstrings, pages and messages are plain English: short sentences, one colon in each.

Examples, tables and formulas of docstrings are left out, and so are lists of arguments.
"""

import ast
import re
from pathlib import Path

import pytest
from support.english import comment_paragraphs, faults, message_paragraphs, page_paragraphs

ROOT = Path(__file__).parents[1]
PACKAGES = ("adapter_distill", "flows", "pipeline", "models", "benchmarks", "scripts", "tests")
ROOMS = sorted({path.parent for package in PACKAGES for path in (ROOT / package).rglob("*.py")})
PRODUCT = [room for room in ROOMS if room.relative_to(ROOT).parts[0] != "tests"]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
COMMENTED = [
    *sorted((ROOT / "configs").glob("*.toml")),
    *sorted(ROOT.glob("docker-compose*.yml")),
    *(ROOT / name for name in ("Dockerfile", ".env.example", "prefect.yaml")),
    *sorted(path for path in (ROOT / "scripts").iterdir() if not path.suffix),
]


def named(path):
    return str(path.relative_to(ROOT))


def docstring_paragraphs(tree):
    """Yield (line, text) of the prose of every docstring, those below fields included."""
    for node in ast.walk(tree):
        text = getattr(node.value, "value", None) if isinstance(node, ast.Expr) else None
        if isinstance(text, str):
            left_out = rf"^\s*(>>>|\||- |\d\. |\+--)|::$|^ {{{node.col_offset + 4}}}"
            prose = re.split(r"\n\s*(?:Args|Returns|Raises|Yields|Shapes):", text)[0]
            for paragraph in re.split(r"\n\s*\n", prose):
                if not re.search(left_out, paragraph, re.MULTILINE):
                    yield node.lineno, paragraph


def faults_of(path, paragraphs):
    return [f"{named(path)}:{line}: {fault}" for line, text in paragraphs for fault in faults(text)]


def faults_in(room, paragraphs_of):
    """Return the faults in the Python files of a folder."""
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in room.glob("*.py")}
    return [fault for path, tree in trees.items() for fault in faults_of(path, paragraphs_of(tree))]


@pytest.mark.parametrize("room", ROOMS, ids=named)
def test_docstrings_are_plain_english(room):
    assert faults_in(room, docstring_paragraphs) == []


@pytest.mark.parametrize("room", PRODUCT, ids=named)
def test_messages_are_plain_english(room):
    assert faults_in(room, message_paragraphs) == []


@pytest.mark.parametrize("path", PAGES, ids=named)
def test_pages_are_plain_english(path):
    assert faults_of(path, page_paragraphs(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("path", COMMENTED, ids=named)
def test_comments_are_plain_english(path):
    assert faults_of(path, comment_paragraphs(path.read_text(encoding="utf-8"))) == []
