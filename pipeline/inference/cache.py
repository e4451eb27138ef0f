"""The key-value cache of a language model's graph: its inputs, and what they hold at first.

A graph reads some tokens at once, with the keys and values of those before. Without any before them
it reads a whole text. Names of inputs and outputs are those that onnxruntime-genai, transformers.js
and Optimum know.

Shapes: B = batch, S = tokens read now, P = tokens read before, H = heads of keys and values,
A = size of a head.
"""

from collections.abc import Sequence

import numpy as np
import onnxruntime as ort

POSITIONS, PAST, PRESENT = "position_ids", "past_key_values.", "present."
"""Name of the positions, and beginnings of the names of caches that go in and come out."""
LOGITS = "logits"


_TEXTS = ("input_ids", "attention_mask")


def cache_names(layers: int, prefix: str) -> tuple[str, ...]:
    """Return the names of all keys and values, layer by layer."""
    return tuple(f"{prefix}{layer}.{part}" for layer in range(layers) for part in ("key", "value"))


def positions_of(mask: np.ndarray) -> np.ndarray:
    """Return the positions of tokens by a mask (B, T): from 0 on at the first real one."""
    positions: np.ndarray = np.maximum(mask.cumsum(axis=1) - 1, 0)
    return positions


def empty_cache(session: ort.InferenceSession, batch: int, past: int = 0) -> dict[str, np.ndarray]:
    """Return the cache of so many tokens by the names of the graph's inputs: all zero."""
    found = {}
    for each in session.get_inputs():
        if each.name.startswith(PAST):
            _, heads, _, size = each.shape
            found[each.name] = np.zeros((batch, heads, past, size), dtype=np.float32)
    return found


def first_inputs(
    session: ort.InferenceSession, ids: np.ndarray, mask: np.ndarray
) -> dict[str, np.ndarray]:
    """Return the inputs that read texts (B, S) from their first tokens on."""
    return {
        "input_ids": ids,
        "attention_mask": mask,
        POSITIONS: positions_of(mask),
        **empty_cache(session, len(ids)),
    }


def next_inputs(
    ids: np.ndarray, mask: np.ndarray, presents: Sequence[np.ndarray]
) -> dict[str, np.ndarray]:
    """Return the inputs that read the last tokens of texts, with the cache of those before.

    Args:
        ids: (B, S), the tokens that are new.
        mask: (B, P + S), of all tokens.
        presents: What the graph gave of the tokens before, without the logits.
    """
    names = cache_names(len(presents) // 2, PAST)
    return {
        "input_ids": ids,
        "attention_mask": mask,
        POSITIONS: positions_of(mask)[:, -ids.shape[1] :],
        **dict(zip(names, presents, strict=True)),
    }


def check_decoder(session: ort.InferenceSession) -> None:
    """Refuse a graph that cannot continue texts with a cache.

    Raises:
        ValueError: saying what it takes and gives instead.
    """
    inputs = {each.name for each in session.get_inputs()}
    outputs = [each.name for each in session.get_outputs()]
    layers = (len(outputs) - 1) // 2
    wanted = {*_TEXTS, POSITIONS, *cache_names(layers, PAST)}
    if inputs != wanted or outputs != [LOGITS, *cache_names(layers, PRESENT)]:
        raise ValueError(
            f"its graph maps {', '.join(sorted(inputs)[:8])} to {', '.join(outputs[:4])}; expected "
            f"{', '.join(_TEXTS)}, {POSITIONS} and {PAST}N.key|value, and {LOGITS} and "
            f"{PRESENT}N.key|value"
        )
