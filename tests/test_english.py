"""Docstrings are plain English: a noun or a verb first, short sentences, one colon in each.

Examples, tables and formulas are left out, and so are lists of arguments.
"""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("adapter_distill", "flows", "pipeline", "models")
MOST_WORDS = 20
FIRST = re.compile(r"(Of|What|The same|Those|That|So|Who)\b")
LEFT_OUT = re.compile(r"``.*?``|`[^`]*`|https?://\S+|\([^()]*\)", re.DOTALL)
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def docstrings(path):
    """Yield (line, text) of every docstring, those below fields included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        text = getattr(node.value, "value", None) if isinstance(node, ast.Expr) else None
        if isinstance(text, str):
            yield node.lineno, text


def sentences(text):
    """Yield the sentences of the paragraphs of prose."""
    prose = re.split(r"\n\s*(?:Args|Returns|Raises|Yields|Shapes):", text)[0]
    for paragraph in re.split(r"\n\s*\n", prose):
        if not re.search(r"^\s*(>>>|\||- |\d\. |\+--)|::$|^ {8}", paragraph, re.MULTILINE):
            words = LEFT_OUT.sub("X", " ".join(paragraph.split()))
            yield from re.split(r"(?<=[.?!])\s+(?=[A-Z`])", words)


def faults(path):
    for line, text in docstrings(path):
        if FIRST.match(text):
            yield f"{path.relative_to(ROOT)}:{line}: begins with {text.split()[0]}"
        for sentence in sentences(text):
            if len(sentence.split()) > MOST_WORDS:
                yield f"{path.relative_to(ROOT)}:{line}: too long: {sentence}"
            if sentence.count(": ") > 1:
                yield f"{path.relative_to(ROOT)}:{line}: two colons: {sentence}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_docstrings_are_plain_english(path):
    assert list(faults(path)) == []
