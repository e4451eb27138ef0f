"""Seams: places where a long text can be cut without a change to the tokens on either side.

A truncated text needs only its first tokens, but a tokenizer reads all of it: 20,000 characters
cost 45 ms for 64 tokens. A seam is a single space between two ASCII letters or digits. The tokens
on its sides are independent if every part of the tokenizer looks at no more than one word:
- the normaliser works on single characters there, and leaves the seam as it is;
- the pre-tokenizer splits there, and the model reads one word at a time;
- no added token holds a space, or takes spaces from its neighbours.

Only parts that are known for this are accepted. With any other part, texts are not cut.
"""

import json
import re
import string
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from tokenizers import Tokenizer

_WORD = string.ascii_letters + string.digits
_SEAM = re.compile("(?<=[A-Za-z0-9]) (?=[A-Za-z0-9])")
_META = "\u2581"
_CHARACTER_NORMALISERS = (
    *("Lowercase", "NFC", "NFD", "NFKC", "NFKD"),
    *("StripAccents", "BertNormalizer", "Precompiled"),
)
_SPLITTERS = ("BertPreTokenizer", "Whitespace", "WhitespaceSplit", "Metaspace", "ByteLevel")
_HARMLESS = ("Digits", "Punctuation")
"""Pre-tokenizers that only split further, by single characters."""
_MODELS = ("WordPiece", "WordLevel", "BPE", "Unigram")
_SEVERAL_SPACES = " {2,}"

TextEnd = Literal["left", "right"]


def cut_at_seam(text: str, *, wanted: int, side: TextEnd) -> str:
    """Return at least the wanted characters of a text, up to a seam; all of it where none is near.

    Args:
        text: Any text.
        wanted: Number of characters to keep at least.
        side: End of the text that may go.
    """
    if len(text) <= 2 * wanted:
        return text
    if side == "right":
        seam = _SEAM.search(text, wanted, 2 * wanted)
        return text[: seam.start()] if seam else text
    seam = _SEAM.search(text, len(text) - 2 * wanted, len(text) - wanted)
    return text[seam.start() :] if seam else text


def has_seams(tokenizer: Tokenizer, side: TextEnd) -> bool:
    """Return whether texts can be cut at seams before this tokenizer reads them.

    Args:
        tokenizer: Its parts are looked at one by one.
        side: End of the text that may go.
    """
    splitters = _splitters(_describe(tokenizer.pre_tokenizer))
    if not splitters or not _reads_words(tokenizer):
        return False
    separators = f"{_META} " if splitters == ["Metaspace"] else " "
    return (
        _is_local(_describe(tokenizer.normalizer), side)
        and _keeps_seams(tokenizer, separators)
        and _added_tokens_stay_apart(tokenizer)
    )


def _describe(part: Any) -> Mapping[str, Any] | None:  # any of the library's parts
    """Return a part's own JSON, as ``tokenizer.json`` has it."""
    if part is None:
        return None
    try:
        described: Mapping[str, Any] = json.loads(part.__getstate__())
    except Exception:  # the library's for parts that are written in Python, as RoFormer has one
        return {"type": "Custom"}
    return described


def _reads_words(tokenizer: Tokenizer) -> bool:
    model = tokenizer.model
    is_random = any(getattr(model, name, None) for name in ("dropout", "alpha", "nbest_size"))
    return type(model).__name__ in _MODELS and not is_random


def _splitters(part: Mapping[str, Any] | None) -> list[str]:
    """Return the pre-tokenizers that split at every seam; none where another part is unknown."""
    parts: Sequence[Mapping[str, Any]] = [] if part is None else part.get("pretokenizers", [part])
    names = [each["type"] for each in parts]
    is_known = all(name in (*_SPLITTERS, *_HARMLESS) for name in names)
    # `split` of Metaspace and `use_regex` of ByteLevel are absent in old files, and then true.
    splits = all(each.get("split", True) and each.get("use_regex", True) for each in parts)
    is_spaced = all(each.get("replacement", _META) == _META for each in parts)
    if not (is_known and splits and is_spaced):
        return []
    return [name for name in names if name in _SPLITTERS]


def _is_local(part: Mapping[str, Any] | None, side: TextEnd) -> bool:
    """Return whether a normaliser looks at single characters around a seam."""
    if part is None or part["type"] in _CHARACTER_NORMALISERS:
        return True
    if part["type"] == "Sequence":
        return all(_is_local(each, side) for each in part["normalizers"])
    if part["type"] == "Strip":  # a text that begins with its seam would lose the space
        return side == "right" or not part["strip_left"]
    return part["type"] == "Replace" and _is_local_pattern(part["pattern"])


def _is_local_pattern(pattern: Mapping[str, str]) -> bool:
    text = pattern.get("String")
    if text is None:
        return pattern.get("Regex") == _SEVERAL_SPACES
    return text == " " or not set(text) & {*_WORD, " ", _META}


def _keeps_seams(tokenizer: Tokenizer, separators: str) -> bool:
    """Return whether letters, digits and the spaces between them stay what they are."""
    if tokenizer.normalizer is None:
        return True
    found = tokenizer.normalizer.normalize_str(" ".join(_WORD))
    between = f"[{separators}]".join(["[A-Za-z0-9]"] * len(_WORD))
    return re.fullmatch(between, found) is not None


def _added_tokens_stay_apart(tokenizer: Tokenizer) -> bool:
    for token in tokenizer.get_added_tokens_decoder().values():
        forms = [token.content]
        if tokenizer.normalizer is not None:
            forms.append(tokenizer.normalizer.normalize_str(token.content))
        if any(set(form) & {" ", _META} for form in forms):
            return False
        takes_spaces = token.lstrip or token.rstrip
        if takes_spaces and any(set(form[:1] + form[-1:]) & set(_WORD) for form in forms):
            return False
    return True
