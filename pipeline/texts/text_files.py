"""Unlabelled texts: one text, one pair or one JSON value per line.

Only line feeds end a line; U+2028, form feeds and the like belong to the text. A tab belongs to it
too, unless pairs were requested: then it separates the two texts.
"""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pipeline.errors import InputError

if TYPE_CHECKING:  # pyarrow, which it imports, would cost a command without tables 40 MB
    from pipeline.texts.tables import Text

Form = Literal["text", "pairs", "jsonl"]
"""Form of a line: a text, a pair with a tab between, or a JSON value."""

_JSON_FORMS = (
    '"a text", ["a text", "its pair"], {"text": "...", "text_b": "..."} or '
    '{"question": "...", "context": "..."}'
)
_PAIRS = (("text", "text_b"), ("question", "context"))
"""Names of a pair's texts in an object."""


def cut_texts(content: str, source: str, form: Form) -> "list[Text]":
    """Return the texts of a file's content. Blank lines are left out.

    Raises:
        InputError: for a line that is not of the form, or texts and pairs side by side.
    """
    lines = [
        (number, line.removesuffix("\r"))
        for number, line in enumerate(content.split("\n"), start=1)
        if line.strip()
    ]
    texts = [_read_line(line, f"{source}, line {number}", form) for number, line in lines]
    check_texts(texts, [f"{source}, line {number}" for number, _ in lines])
    return texts


def given_texts(arguments: Sequence[str], form: Form) -> "list[Text]":
    """Return the texts of a command's arguments: a text each, two for a pair, or JSON each.

    Raises:
        InputError: for an odd number of arguments in pairs, or one that is not JSON.
    """
    if form == "pairs":
        if len(arguments) % 2:
            raise InputError(
                f"Expected two arguments for each pair, found {len(arguments)}. Give both texts, "
                "each in quotation marks of its own."
            )
        texts: list[Text] = list(zip(arguments[::2], arguments[1::2], strict=True))
    elif form == "jsonl":
        texts = [_read_json(each, f"text {n}") for n, each in enumerate(arguments, start=1)]
    else:
        texts = [(each,) for each in arguments]
    check_texts(texts, [f"text {number}" for number in range(1, len(texts) + 1)])
    return texts


def check_texts(texts: "Sequence[Text]", places: Sequence[str]) -> None:
    """Refuse texts and pairs side by side, and texts that UTF-8 cannot express.

    Args:
        texts: Texts or pairs.
        places: Where each stands, for messages.
    """
    for text, place in zip(texts, places, strict=True):
        if len(text) != len(texts[0]):
            raise InputError(
                f"{place} holds {_named(text)}, where {places[0]} holds {_named(texts[0])}. Give "
                "either texts or pairs."
            )
        try:
            "".join(text).encode("utf-8")
        except UnicodeEncodeError as error:
            raise InputError(
                f"{place} is not text in UTF-8: {error.reason}. Convert it to UTF-8."
            ) from error


def _named(text: "Text") -> str:
    return "one text" if len(text) == 1 else "a pair"


def _read_line(line: str, place: str, form: Form) -> "Text":
    if form == "text":
        return (line,)
    if form == "jsonl":
        return _read_json(line, place)
    parts = tuple(line.split("\t"))
    if len(parts) != 2:
        raise InputError(
            f"{place} has {len(parts) - 1} tabs, expected one between the two texts of a pair. "
            "Correct the line, or give the pairs as JSON lines with --jsonl."
        )
    return parts


def _read_json(line: str, place: str) -> "Text":
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{place} is no JSON ({error}). Write {_JSON_FORMS}.") from error
    if isinstance(value, dict):
        first, second = next((pair for pair in _PAIRS if pair[0] in value), _PAIRS[0])
        value = [value.get(first), *([value[second]] if second in value else [])]
    parts = tuple(value) if isinstance(value, list) else (value,)
    if len(parts) not in (1, 2) or not all(isinstance(part, str) for part in parts):
        shown = line if len(line) <= 60 else f"{line[:60]}…"
        raise InputError(f"{place} is {shown}, expected {_JSON_FORMS}.")
    return parts
