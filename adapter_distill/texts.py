"""Texts as a caller gives them: strings, or pairs of strings."""

from collections.abc import Sequence
from os import PathLike

from pipeline.errors import InputError
from pipeline.texts.text_files import check_texts

GivenText = str | tuple[str, ...]
"""One text, or the two texts of a pair."""
Folder = str | PathLike[str]
"""Path of a folder."""


def as_texts(texts: Sequence[GivenText]) -> list[tuple[str, ...]]:
    """Return texts as the pipeline takes them: a tuple of one or two strings each.

    Raises:
        InputError: for a single string, and for texts that cannot be read.
    """
    if isinstance(texts, str):
        raise InputError("Expected a list of texts, found one string. Put it into a list.")
    read = [text if isinstance(text, tuple) else (text,) for text in texts]
    places = [f"text {number}" for number in range(1, len(read) + 1)]
    for text, place in zip(read, places, strict=True):
        if len(text) not in (1, 2) or not all(isinstance(part, str) for part in text):
            raise InputError(f"{place} is {text!r}: expected a string, or a tuple of two strings.")
    check_texts(read, places)
    return read
