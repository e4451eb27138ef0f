"""Tokenizers of checkpoints: exactly those that the files describe, or refused.

transformers makes a tokenizer of a class that it chooses, from some of the files. From a folder
without any it makes an empty one. For some classes it reads only the vocabulary of
``tokenizer.json``. The result is therefore compared with ``tokenizer.json`` and the model's config.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from tokenizers import Tokenizer
from transformers import AutoTokenizer, PretrainedConfig, PreTrainedTokenizerBase

from models.architectures.heads import last_token
from models.architectures.inputs import input_names
from models.architectures.table import ARCHITECTURES
from pipeline.checkpoints.pretrained import (
    Checkpoint,
    count_positions,
    padding_of_positions,
    read_model_config,
)
from pipeline.errors import InputError, refusing
from pipeline.inference.tokens import TextEncoder, TokenSettings, in_windows, make_encoder

_CONFIG = "tokenizer_config.json"
_FEWEST_MERGES, _SMALLEST_PART = 0.5, 0.5
"""Merges per word, and part of the embeddings' ids, below which a vocabulary was cut."""
_GENERIC_CLASS = "PreTrainedTokenizerFast"
"""The class that takes ``tokenizer.json`` as it is, in every version of transformers."""
_PROBES = (
    "Hello WORLD, don't you know? It's 1,234.56 EUR!",
    "  Crème brûlée\tand  naïve façades\nnext line ",
    "\u4f60\u597d \u043f\u0440\u0438\u0432\u0435\u0442 \ufb01ne \u2167 \U0001f642 e\u0301",
    "good bad film the a of x",
    "",
)
"""Texts in which case, accents, spaces, digits, scripts and Unicode forms all occur."""


def load_tokenizer(checkpoint: Checkpoint, *, max_length: int) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a checkpoint, whose own limit is set to ``max_length``.

    It pads on the right, and names the inputs of the checkpoint's model.

    Raises:
        InputError: when there is none, it is damaged or does not fit the model, or the model takes
            fewer than ``max_length`` tokens.
    """
    tokenizer = _load(checkpoint)
    longest = min(tokenizer.model_max_length, count_positions(checkpoint))
    if max_length > longest:
        raise InputError(
            f"data.max_length = {max_length}, but the model in {checkpoint.folder} takes at most "
            f"{longest} tokens. Lower data.max_length."
        )
    if max_length <= (special := tokenizer.num_special_tokens_to_add()):
        raise InputError(
            f"data.max_length = {max_length}, but the tokenizer in {checkpoint.folder} adds "
            f"{special} special tokens to each text. Raise data.max_length."
        )
    # Saved with it, in both files: whoever loads it truncates alike.
    tokenizer.model_max_length = max_length
    make_encoder(_backend(tokenizer), token_settings(tokenizer))
    return tokenizer


def longest_input(checkpoint: Checkpoint) -> int:
    """Return how many tokens a checkpoint's model and its tokenizer take.

    Raises:
        InputError: when there is no tokenizer.
    """
    return int(min(_load(checkpoint).model_max_length, count_positions(checkpoint)))


def encoder_of(
    tokenizer: PreTrainedTokenizerBase, *, max_length: int | None = None, windows_of: int = 0
) -> TextEncoder:
    """Return what makes a tokenizer's tokens, here and wherever its bundle is loaded.

    Args:
        max_length: Longest input, in tokens; None takes the tokenizer's own.
        windows_of: Number of texts of an example that is read in windows; 0 truncates long ones.
    """
    settings = in_windows(token_settings(tokenizer, max_length=max_length), windows_of)
    return make_encoder(_copy(tokenizer), settings)


def token_settings(
    tokenizer: PreTrainedTokenizerBase, *, max_length: int | None = None
) -> TokenSettings:
    """Return the settings of a tokenizer that shape its tokens.

    Args:
        max_length: Longest input, in tokens; None takes the tokenizer's own.
    """
    return TokenSettings(
        max_length=int(tokenizer.model_max_length if max_length is None else max_length),
        pad_id=tokenizer.pad_token_id,
        truncation_side="left" if tokenizer.truncation_side == "left" else "right",
        split_special_tokens=bool(tokenizer.split_special_tokens),
    )


def save_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write a tokenizer beside a model, so that transformers reads the same one from there.

    Raises:
        InputError: when transformers makes other tokens of what was written.
    """
    tokenizer.save_pretrained(folder)
    if _differing_text(_read(folder), _copy(tokenizer)) is None:
        return
    path = folder / _CONFIG
    said = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**said, "tokenizer_class": _GENERIC_CLASS}, indent=2))
    if (text := _differing_text(_read(folder), _copy(tokenizer))) is not None:
        raise InputError(
            f"The tokenizer {tokenizer.name_or_path} cannot be saved: transformers reads it back "
            f"from {folder} and makes other tokens of {text!r}. Give a model whose tokenizer.json "
            "was written by this version of transformers."
        )


def padding_id(checkpoint: Checkpoint) -> int:
    """Return the id of the padding token that a checkpoint's tokenizer uses.

    Raises:
        InputError: when there is none.
    """
    return int(_load(checkpoint).pad_token_id)


def _load(checkpoint: Checkpoint) -> PreTrainedTokenizerBase:
    """Return a tokenizer that was held against the files that it was made of."""
    folder, config = checkpoint.folder, read_model_config(checkpoint)
    tokenizer = _read(folder)
    _check_limit(folder, tokenizer)
    _check_words(folder, tokenizer)
    _check_ids(folder, tokenizer, config)
    _check_one_reading(folder, tokenizer)
    _choose_padding(folder, tokenizer, config)
    _settle(tokenizer, config)
    return tokenizer


def _read(folder: Path) -> PreTrainedTokenizerBase:
    with _reading(folder):
        tokenizer = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
        if not tokenizer.is_fast:
            raise ValueError(f"{type(tokenizer).__name__} has no tokenizer.json and cannot make it")
    return cast(PreTrainedTokenizerBase, tokenizer)


@contextmanager
def _reading(folder: Path) -> Iterator[None]:
    with refusing(
        f"Cannot read the tokenizer in {folder}", "Give a model that was saved with its tokenizer."
    ):
        yield


def _backend(tokenizer: PreTrainedTokenizerBase) -> Tokenizer:
    # Any: only the fast tokenizers, which all here are, declare it.
    backend: Tokenizer = cast(Any, tokenizer).backend_tokenizer
    return backend


def _copy(tokenizer: PreTrainedTokenizerBase) -> Tokenizer:
    """Return a tokenizer's backend as it is read from JSON, which a bundle's always is.

    Reading rounds the scores of pieces in their last place. If two ways to cut a text are equally
    good, another one can win by that.
    """
    return Tokenizer.from_str(_backend(tokenizer).to_str())


def _check_limit(folder: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    limit = tokenizer.model_max_length
    is_number = isinstance(limit, int | float) and not isinstance(limit, bool)
    if not is_number or limit < 1 or limit % 1:
        raise InputError(
            f"{folder / _CONFIG}: expected model_max_length as a positive whole number, found "
            f"{limit!r}. Correct it."
        )


def _check_words(folder: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse a vocabulary without words, or without the merges that make them."""
    words = tokenizer.get_vocab().keys() - set(tokenizer.all_special_tokens)
    lost = "" if len(words) > 1 else "its vocabulary has no words"
    # A cut tokenizer.json is no JSON; a cut list of merges is a list of merges.
    if not lost and not (folder / "tokenizer.json").is_file():
        model = json.loads(_backend(tokenizer).to_str())["model"]
        long = sum(len(word) > 1 for word in words)
        if model["type"] == "BPE" and len(model["merges"]) < _FEWEST_MERGES * long:
            lost = f"it has {len(model['merges'])} merges for {long} words of several characters"
    if lost:
        raise InputError(
            f"Cannot read the tokenizer in {folder}: {lost}. Expected tokenizer.json, or the whole "
            "vocabulary files of its class. Save the tokenizer beside the model."
        )


def _check_ids(folder: Path, tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig) -> None:
    """Refuse ids that the model has no embeddings for, and far fewer ids than embeddings."""
    token, largest = max(tokenizer.get_vocab().items(), key=lambda item: item[1])
    size = config.vocab_size
    found = ""
    if largest >= size:
        found = f"its token {token!r} has the id {largest}"
    elif largest + 1 < _SMALLEST_PART * size:
        found = f"its ids end at {largest}"
    if found:
        raise InputError(
            f"The tokenizer in {folder} is not the model's: {found}, and the model in config.json "
            f"has embeddings for {size} ids. Give the tokenizer that the model was trained with, "
            "or resize the model's embeddings."
        )


def _check_one_reading(folder: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse a ``tokenizer.json`` of which transformers makes another tokenizer than it holds."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        return
    with _reading(folder):
        own = Tokenizer.from_file(str(path))
        text = _differing_text(tokenizer, own)
    if text is None:
        return
    readings = [each.encode(text).tokens[:8] for each in (own, _backend(tokenizer))]
    said = tokenizer.init_kwargs.get("tokenizer_class")
    advice = f'; "tokenizer_class": "{_GENERIC_CLASS}" takes tokenizer.json as it is'
    raise InputError(
        f"{path} and {folder / _CONFIG} describe two tokenizers: of {text!r} the first makes "
        f"{readings[0]}, the other, as a {type(tokenizer).__name__}, {readings[1]}. Correct the "
        f"one that is wrong{advice if said != _GENERIC_CLASS else ''}."
    )


def _differing_text(tokenizer: PreTrainedTokenizerBase, other: Tokenizer) -> str | None:
    """Return a text that a tokenizer and a backend read differently, alone or as a pair."""
    backend = _copy(tokenizer)
    for each in (backend, other):
        each.no_padding()
        each.no_truncation()
    for text in _PROBES:
        for pair in ((text,), (text, "a good film")):
            found, expected = backend.encode(*pair), other.encode(*pair)
            if (found.ids, found.type_ids) != (expected.ids, expected.type_ids):
                return text
    return None


def _choose_padding(
    folder: Path, tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig
) -> None:
    """Settle one padding token for the tokenizer and the model, or refuse.

    A decoder's head reads the last token that is not its config's padding: then that one pads.
    Decoders without one pad, by custom, with what ends a text.
    """
    architecture = ARCHITECTURES.get(config.model_type)
    configured = config.pad_token_id
    if architecture is not None and architecture.sequence_head.pooling is last_token:
        if isinstance(configured, int) and 0 <= configured < len(tokenizer):
            tokenizer.pad_token = tokenizer.convert_ids_to_tokens(configured)
        elif tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.pad_token is None:
        raise InputError(
            f"The tokenizer in {folder} has no padding token. Set its pad_token in {_CONFIG}."
        )
    counted_from = padding_of_positions(config)
    if counted_from not in (None, tokenizer.pad_token_id):
        raise InputError(
            f"The tokenizer in {folder} is not the model's: it pads with the id "
            f"{tokenizer.pad_token_id}. This {config.model_type} model numbers its positions from "
            f"the padding id {counted_from}. Give the tokenizer that the model was trained with."
        )


def _settle(tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig) -> None:
    """Make explicit, and so saved, what would else depend on the tokenizer's class."""
    tokenizer.padding_side = "right"
    tokenizer.model_input_names = list(input_names(config))
    for name in ("padding_side", "truncation_side", "model_input_names", "split_special_tokens"):
        tokenizer.init_kwargs[name] = getattr(tokenizer, name)
