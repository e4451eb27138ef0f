"""Texts that a language model continues, token by token with its cache, within limits.

The likeliest token is taken, or one is drawn at a temperature. A completion ends where the model
ends the text, or where a limit is reached.

Shapes: T = tokens of the prompt, V = size of the vocabulary; one text at a time.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import onnxruntime as ort
from tokenizers import Tokenizer

from pipeline.errors import InputError
from pipeline.inference.cache import first_inputs, next_inputs

_UNFINISHED = "\N{REPLACEMENT CHARACTER}"
"""Character that a decoder writes for bytes that are no whole character yet."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """When a completion ends, if its model does not end it."""

    tokens: int = 64
    """Most tokens that are generated."""
    seconds: float = float("inf")
    """No token is begun after this time."""
    temperature: float = 0.0
    """Softens the distribution that tokens are drawn from; 0 takes the likeliest."""
    seed: int = 0
    """Seed of the draws."""

    def __post_init__(self) -> None:
        """Refuse limits that no completion can keep."""
        if self.tokens < 1 or self.seed < 0 or not 0 <= self.temperature < math.inf:
            raise InputError(
                "A completion needs at least 1 token, and a finite temperature and a seed of at "
                f"least 0. Found {self.tokens}, {self.temperature} and {self.seed}."
            )


@dataclass(kw_only=True, slots=True)
class Completion:
    """Text that a model has generated so far."""

    ids: list[int] = field(default_factory=list)
    text: str = ""
    ended_by: Literal["end", "tokens", "time"] = "tokens"
    """Cause of the end: ``end`` is the model itself, ``tokens`` and ``time`` are limits."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Writer:
    """An exported language model that continues texts."""

    session: ort.InferenceSession
    tokenizer: Tokenizer
    """It truncates nothing."""
    ends: frozenset[int]
    """Tokens that end a text."""
    positions: int
    """Tokens that the model has positions for, prompt included."""

    def read(self, prompt: str, *, most: int | None = None) -> np.ndarray:
        """Return the tokens of a prompt, (T,).

        Args:
            prompt: Any text.
            most: Longest accepted prompt, in tokens; by default one less than there are positions.

        Raises:
            InputError: for a prompt without tokens, or a longer one.
        """
        ids = self.tokenizer.encode(prompt).ids
        while ids and ids[-1] in self.ends:  # some tokenizers end every text
            ids.pop()
        limit = self.positions - 1 if most is None else min(most, self.positions - 1)
        if not ids or len(ids) > limit:
            raise InputError(
                f"The prompt has {len(ids)} tokens, expected 1 to {limit}. Give a "
                f"{'shorter' if ids else 'longer'} one."
            )
        return np.array(ids, dtype=np.int64)

    def write(self, ids: np.ndarray, limits: Limits, completion: Completion) -> Iterator[str]:
        """Yield a completion piece by piece, and gather it in the record that is given.

        Args:
            ids: Tokens of the prompt, (T,).
            limits: When to stop.
            completion: An empty one.
        """
        started, draw = time.monotonic(), _drawing(limits)
        room = min(limits.tokens, self.positions - len(ids))
        mask = np.ones((1, len(ids)), dtype=np.int64)
        feeds = first_inputs(self.session, ids[None], mask)
        while len(completion.ids) < room:
            if time.monotonic() - started > limits.seconds:
                completion.ended_by = "time"
                break
            logits, *presents = self.session.run(None, feeds)
            token = draw(logits[0, -1])
            if token in self.ends:
                completion.ended_by = "end"
                break
            completion.ids.append(token)
            yield from self._grow(completion)
            mask = np.ones((1, mask.shape[1] + 1), dtype=np.int64)
            feeds = next_inputs(np.array([[token]], dtype=np.int64), mask, presents)
        yield from self._grow(completion, is_last=True)

    def complete(self, prompt: str, limits: Limits, *, most: int | None = None) -> Completion:
        """Return a whole completion.

        Raises:
            InputError: for a prompt that `read` refuses.
        """
        completion = Completion()
        for _ in self.write(self.read(prompt, most=most), limits, completion):
            pass
        return completion

    def _grow(self, completion: Completion, *, is_last: bool = False) -> Iterator[str]:
        """Decode the tokens so far; yield the characters that are new, and whole."""
        text = self.tokenizer.decode(completion.ids)
        if text.endswith(_UNFINISHED) and not is_last:
            return
        piece = text[len(completion.text) :]
        completion.text = text
        if piece:
            yield piece


# Any: a transformers ``config.json``.
def make_writer(
    session: ort.InferenceSession, tokenizer: Tokenizer, config: Mapping[str, Any]
) -> Writer:
    """Return the writer of a bundle.

    Args:
        session: Of its graph.
        tokenizer: Its tokenizer; a copy of it is made that truncates nothing.
        config: Its ``config.json``.
    """
    whole = Tokenizer.from_str(tokenizer.to_str())
    whole.no_truncation()
    said = config.get("eos_token_id")
    ends = said if isinstance(said, list) else [said]
    limits = [config.get(name) for name in ("max_position_embeddings", "n_positions")]
    limits.append(config.get("sliding_window"))  # beyond it, transformers looks at fewer tokens
    return Writer(
        session=session,
        tokenizer=whole,
        ends=frozenset(each for each in ends if isinstance(each, int)),
        positions=min(int(each) for each in limits if each),
    )


def _drawing(limits: Limits) -> Callable[[np.ndarray], int]:
    """Return what takes a token by its logits, (V,)."""
    if limits.temperature == 0:
        return lambda logits: int(logits.argmax())
    rng = np.random.default_rng(limits.seed)

    def draw(logits: np.ndarray) -> int:
        # The Gumbel trick: the largest of scores with such noise is a draw of their softmax. Noise
        # times the temperature does what scores divided by it do, and never overflows.
        noise = rng.gumbel(size=len(logits))
        return int((logits.astype(np.float64) + limits.temperature * noise).argmax())

    return draw
