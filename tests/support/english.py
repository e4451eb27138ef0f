"""Rules of plain English for docstrings, pages and messages, and the sentences that they hold for.

Inline code, addresses of links and parenthesised parts count as one word.
"""

import ast
import re

MOST_WORDS = 20
_FIRST = re.compile(r"[*\"(\[]*(Of|What|The same|Those|That|So|Who)\b")
_ONE_WORD = re.compile(r"``.*?``|`[^`]*`|https?://\S+|\([^()]*\)", re.DOTALL)
_END = re.compile(r"(?<=[^.][.?!])[*\"]*\s+")
_FENCE = re.compile(r"^( *)(```+).*?^\1\2 *$", re.DOTALL | re.MULTILINE)
_ITEM = re.compile(r"(?:- |\d+\. +)")
_NO_PROSE = re.compile(r"#|\||<|!\[|--8<--")
_TERM = re.compile(r"^(?:\*\*[^*]+\*\*|`[^`]+`): ")
_COMMENT = re.compile(r"\s*# ((?! |[\w.]+ ?=).+)")
_FORM = re.compile(r"\{.*?\}|\[.*?\]")
"""JSON and lists in a message."""
_FEWEST = 4
"""Fewest words of a message; shorter strings are names and keys."""


def faults(text):
    """Yield what is wrong with the sentences of a paragraph."""
    for sentence in _END.split(_ONE_WORD.sub("X", " ".join(text.split()))):
        if match := _FIRST.match(sentence):
            yield f"begins with {match[1]}: {sentence}"
        if (words := len(sentence.split())) > MOST_WORDS:
            yield f"{words} words: {sentence}"
        if sentence.count(": ") > 1:
            yield f"two colons: {sentence}"


def page_paragraphs(text):
    """Yield (line, text) of a page's paragraphs and list items, without code and tables."""
    text = re.sub(r"<!--.*?-->", _blank, text, flags=re.DOTALL)
    start, lines = 0, []
    for number, line in enumerate([*_FENCE.sub(_blank, text).split("\n"), ""], start=1):
        words = line.strip()
        item = _ITEM.match(words)
        if (not words or item or _NO_PROSE.match(words)) and lines:
            yield start, _TERM.sub("", " ".join(lines), count=1)
            lines = []
        if words and not _NO_PROSE.match(words):
            start = start if lines else number
            lines.append(words[item.end() :] if item else words)


def comment_paragraphs(text):
    """Yield (line, text) of the comments of a config or a script, without commands and settings."""
    start, lines = 0, []
    for number, line in enumerate([*text.split("\n"), ""], start=1):
        comment = _COMMENT.fullmatch(line)
        if comment:
            start = start if lines else number
            lines.append(comment[1])
        elif lines:
            yield start, " ".join(lines)
            lines = []


def message_paragraphs(tree):
    """Yield (line, text) of the lines of every string that is a message, with X for its values."""
    for node in _strings(tree):
        for line in re.split(r"[\r\n]+", _spelled(node)):
            if len(line.split()) >= _FEWEST and "|" not in line and not re.search(r"[\[{] ", line):
                text = _FORM.sub("X", line.strip())
                text = re.sub(r"^\S+: ", "", text)  # the setting, or the file
                yield node.lineno, re.sub(r"(?<=X) (?=[A-Z][a-z])", ". ", text)


def _blank(match):
    return "\n" * match[0].count("\n")


def _strings(node):
    """Yield the strings of a tree, but for docstrings and the pieces of f-strings."""
    if isinstance(node, ast.JoinedStr) or isinstance(getattr(node, "value", None), str):
        yield node
    for child in ast.iter_child_nodes(node):
        is_docstring = isinstance(node, ast.Expr) and isinstance(child, ast.Constant)
        if not is_docstring and not isinstance(node, ast.JoinedStr):
            yield from _strings(child)


def _spelled(node):
    if isinstance(node, ast.JoinedStr):
        return "".join(_spelled(part) for part in node.values)
    return node.value if isinstance(node, ast.Constant) else "X"
