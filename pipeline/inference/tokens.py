"""Texts to token ids: the one way for training, soft targets, export, evaluation and serving.

Training gives the backend of its transformers tokenizer, all others the ``tokenizer.json`` of a
bundle. The settings are those that transformers reads from ``tokenizer_config.json``. Texts are
always padded on the right. The positions of a text's tokens, and its outputs, then do not depend on
the other texts of a batch.

Long texts are cut before they are read, where that changes no token (`pipeline.inference.seams`).

Shapes: B = batch, T = tokens.
"""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from tokenizers import Encoding, Tokenizer

from pipeline.errors import InputError
from pipeline.inference.seams import cut_at_seam, has_seams

if TYPE_CHECKING:  # pyarrow, which it imports, would cost a server 40 MB
    from pipeline.texts.tables import Text

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
"""Names of what a classifier may take."""
_PANIC = "PanicException"
_CHARACTERS_PER_TOKEN = 8
"""Characters per wanted token that a long text is first cut to; words of English take 5 or 6."""
_PART = 4096
"""Texts that are counted at once, which bounds the memory."""
_SHORTEST_WINDOW = 16
"""Tokens below which windows do not overlap: special tokens would leave no room."""

Tokens = dict[str, list[int]]
"""One text by the names in `INPUTS`: each a list of T numbers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenSettings:
    """Settings that shape a text's tokens, beside what ``tokenizer.json`` holds."""

    max_length: int
    """Longest input, in tokens, special tokens included."""
    pad_id: int
    """Id that fills up the shorter texts of a batch."""
    truncation_side: Literal["left", "right"] = "right"
    """End of a long text that is cut off."""
    overlap: int = 0
    """Tokens that two windows of a long text share, where it is read in windows."""
    keeps_first: bool = False
    """Whether windows are those of a pair's second text, each beside the whole first one."""
    split_special_tokens: bool = False
    """Whether a special token that is spelled out in a text is read as plain text."""

    def pad(self, rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, np.ndarray]:
        """Return one batch (B, T) int64 of the named inputs, padded to its longest text."""
        width = max(len(row["input_ids"]) for row in rows)
        fillers = {**dict.fromkeys(INPUTS, 0), "input_ids": self.pad_id}
        return {
            name: np.array(
                [[*row[name], *[fillers[name]] * (width - len(row[name]))] for row in rows],
                dtype=np.int64,
            )
            for name in names
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class TextEncoder:
    """A tokenizer with its settings. `make_encoder` makes it."""

    tokenizer: Tokenizer
    settings: TokenSettings
    cuts: bool
    """Whether long texts are cut at seams before the tokenizer reads them."""

    def encode(self, texts: "Sequence[Text]") -> list[Tokens]:
        """Return the tokens of each text or pair, truncated and not padded.

        A text without any token is read as one padding token.

        Raises:
            ValueError: when special tokens alone exceed the longest input, or the tokenizer panics.
        """
        return self.encode_marked(texts)[0]

    def encode_marked(self, texts: "Sequence[Text]") -> tuple[list[Tokens], list[bool]]:
        """Return what `encode` does, and of each text whether a part of it was truncated."""
        wanted = self.settings.max_length * _CHARACTERS_PER_TOKEN
        rows: list[Tokens] = [{}] * len(texts)
        is_truncated = [False] * len(texts)
        left = list(range(len(texts)))
        while left:
            given = [self._cut(texts[number], wanted) for number in left]
            encodings = self.encodings(given)
            unsettled = []
            for number, cut, encoding in zip(left, given, encodings, strict=True):
                # As many tokens as may be: those of the rest would be truncated.
                if cut is texts[number] or len(encoding) == self.settings.max_length:
                    rows[number] = self.tokens_of(encoding)
                    is_truncated[number] = cut is not texts[number] or bool(encoding.overflowing)
                else:
                    unsettled.append(number)
            left, wanted = unsettled, 4 * wanted
        return rows, is_truncated

    def count_truncated(self, texts: "Sequence[Text]") -> int:
        """Return how many texts are longer than the longest input."""
        parts = (texts[first : first + _PART] for first in range(0, len(texts), _PART))
        return sum(sum(self.encode_marked(part)[1]) for part in parts)

    def encodings(self, texts: "Sequence[Text]") -> list[Encoding]:
        """Return what the tokenizers library makes of each text or pair, truncated.

        Raises:
            InputError: for a first text that leaves no room for windows of the second one.
            ValueError: when special tokens alone exceed the longest input, or the tokenizer panics.
        """
        self._check_room(is_pair=any(len(text) > 1 for text in texts))
        if self.settings.keeps_first:
            self._check_first(texts)
        with _panics_as_errors():
            return self.tokenizer.encode_batch([t[0] if len(t) == 1 else t for t in texts])

    def _cut(self, text: "Text", wanted: int) -> "Text":
        """Return a text up to a seam, or itself.

        Pairs are not cut: which of two long texts is truncated further depends on both lengths.
        """
        if not self.cuts or len(text) > 1 or len(text[0]) <= 2 * wanted:
            return text
        cut = cut_at_seam(text[0], wanted=wanted, side=self.settings.truncation_side)
        return text if len(cut) == len(text[0]) else (cut,)

    def tokens_of(self, encoding: Encoding) -> Tokens:
        """Return the tokens of an encoding by their names; one padding token where it has none."""
        if not encoding.ids:
            return {"input_ids": [self.settings.pad_id], "attention_mask": [1], INPUTS[2]: [0]}
        columns = (encoding.ids, encoding.attention_mask, encoding.type_ids)
        return dict(zip(INPUTS, columns, strict=True))

    def _check_first(self, texts: "Sequence[Text]") -> None:
        """Refuse a first text of more than half of the longest input, special tokens included."""
        special = self.tokenizer.num_special_tokens_to_add(True)
        most = self.settings.max_length // 2 - special
        with _panics_as_errors():
            # As a second text, of which a too long one is truncated.
            firsts = self.tokenizer.encode_batch(
                [("", text[0]) for text in texts], add_special_tokens=False
            )
        for text, first in zip(texts, firsts, strict=True):
            if len(first) > most:
                found = f"{len(first)}{' or more' if first.overflowing else ''}"
                raise InputError(
                    f"The text {text[0][:40]!r} ... has {found} tokens, and at most {most} fit "
                    f"beside a window of its second text. Together they have at most "
                    f"{self.settings.max_length}. Shorten it, or train with a larger "
                    "data.max_length."
                )

    def _check_room(self, *, is_pair: bool) -> None:
        """Refuse a limit below the special tokens: the library would then not truncate at all."""
        special, limit = self.tokenizer.num_special_tokens_to_add(is_pair), self.settings.max_length
        if limit <= special:
            kind = "pair of texts" if is_pair else "text"
            raise ValueError(
                f"the longest input is {limit} tokens, and the special tokens of a {kind} alone "
                f"are {special}"
            )


def make_encoder(tokenizer: Tokenizer, settings: TokenSettings) -> TextEncoder:
    """Return the encoder of a tokenizer, whose own truncation and padding are set to it."""
    tokenizer.no_padding()
    tokenizer.enable_truncation(
        settings.max_length,
        stride=settings.overlap,
        strategy="only_second" if settings.keeps_first else "longest_first",
        direction=settings.truncation_side,
    )
    tokenizer.encode_special_tokens = settings.split_special_tokens
    with _panics_as_errors():
        cuts = has_seams(tokenizer, settings.truncation_side)
    return TextEncoder(tokenizer=tokenizer, settings=settings, cuts=cuts)


def load_encoder(
    bundle: Path, *, max_length: int | None = None, pad_id: int = 0, windows_of: int = 0
) -> TextEncoder:
    """Return the encoder of a folder, as transformers reads its files.

    Args:
        bundle: Folder with ``tokenizer.json`` and ``tokenizer_config.json``.
        max_length: Longest input, in tokens; None takes the folder's own.
        pad_id: Padding token's id where the folder names no padding token.
        windows_of: Number of texts of an example that is read in windows; 0 truncates long ones.

    Raises:
        Exception: of several kinds, where the files are damaged; see `refusing`.
    """
    said = json.loads((bundle / "tokenizer_config.json").read_text(encoding="utf-8"))
    tokenizer = Tokenizer.from_file(str(bundle / "tokenizer.json"))
    limit = said["model_max_length"] if max_length is None else max_length
    if isinstance(limit, bool) or int(limit) != limit or limit < 1:
        raise ValueError(f"expected model_max_length as a positive whole number, found {limit!r}")
    side = said.get("truncation_side") or (tokenizer.truncation or {}).get("direction", "right")
    if side not in ("left", "right"):
        raise ValueError(f"expected truncation_side as left or right, found {side!r}")
    settings = TokenSettings(
        max_length=int(limit),
        pad_id=_find_padding(tokenizer, said.get("pad_token"), pad_id),
        truncation_side=side,
        split_special_tokens=said.get("split_special_tokens", False) is True,
    )
    return make_encoder(tokenizer, in_windows(settings, windows_of))


def in_windows(settings: TokenSettings, windows_of: int) -> TokenSettings:
    """Return the settings for texts that are read in windows, which overlap by a quarter.

    Args:
        settings: Those of the tokenizer.
        windows_of: Number of texts of an example; 0 leaves the settings as they are.
    """
    if not windows_of:
        return settings
    limit = settings.max_length
    overlap = limit // 4 if limit >= _SHORTEST_WINDOW else 0
    return replace(settings, overlap=overlap, keeps_first=windows_of > 1)


def _find_padding(tokenizer: Tokenizer, named: object, otherwise: int) -> int:
    """Return the id of the padding token that a config names, as a string or with its settings."""
    token = named.get("content") if isinstance(named, dict) else named
    found = tokenizer.token_to_id(token) if isinstance(token, str) else None
    return otherwise if found is None else found


@contextlib.contextmanager
def _panics_as_errors() -> Iterator[None]:
    """Turn a panic inside tokenizers into an error that can be handled.

    Files that it reads without complaint can make it panic on the first text. The panic is no
    `Exception`, would end a server's thread, and has only a name to recognise it by.
    """
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != _PANIC:
            raise
        raise ValueError(f"the tokenizer panicked: {error}.") from error
