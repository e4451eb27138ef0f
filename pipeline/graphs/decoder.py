"""A language model as one ONNX graph with a key-value cache, proven equal to torch.

The graph serves for whole texts and for single tokens. Keys and values of earlier tokens are
inputs, and outputs together with those of the new tokens. This module makes the mask, from
positions in the cache and the padding. It therefore does not depend on transformers' way to make
one.

Shapes: B = batch, S = tokens read now, P = tokens read before, T = P + S, H = heads of keys and
values, A = size of a head, V = size of the vocabulary.
"""

import inspect
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from torch import Tensor, nn

from pipeline.config import ExportConfig
from pipeline.facts.export import Parity
from pipeline.facts.variants import Runtime
from pipeline.graphs.known import Signature, graph_of
from pipeline.graphs.saving import save_graph
from pipeline.graphs.trace import (
    Traced,
    check_traced,
    make_parity,
    on_cpu,
    random_inputs,
)
from pipeline.inference.cache import (
    LOGITS,
    PAST,
    POSITIONS,
    PRESENT,
    cache_names,
    first_inputs,
    next_inputs,
    positions_of,
)
from pipeline.inference.session import open_file

_NAMES = ("input_ids", "attention_mask")
_SHAPES = ((1, 1), (1, 7), (2, 16), (5, 33))


def write_decoder(traced: Traced, path: Path, config: ExportConfig) -> list[Parity]:
    """Write a language model as one ONNX file, and return its difference from torch.

    Raises:
        InputError: when the graph differs from torch by more than the tolerance.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    traced.model.set_attn_implementation("eager")  # as for every other graph
    with on_cpu(traced.model):
        _trace(traced, path, config)
    session = open_file(Runtime(), path)
    return [*_compare_texts(traced, session, config), *_compare_steps(traced, session, config)]


def _trace(traced: Traced, path: Path, config: ExportConfig) -> None:
    step = _Step(traced.model).eval()
    batch, tokens, past = 2, 3, 5
    mask = torch.ones(batch, past + tokens, dtype=torch.int64)
    ids = torch.randint(traced.model.config.vocab_size, (batch, tokens))
    positions = torch.arange(past, past + tokens).repeat(batch, 1)
    heads, size = _cache_shape(traced.model.config)
    layers = int(traced.model.config.num_hidden_layers)
    caches = [torch.zeros(batch, heads, past, size) for _ in range(2 * layers)]
    new = {0: "batch", 1: "sequence"}
    signature = Signature(
        input_names=(*_NAMES, POSITIONS, *cache_names(layers, PAST)),
        output_names=(LOGITS, *cache_names(layers, PRESENT)),
        example=(ids, mask, positions, caches),
        axes=(new, {0: "batch", 1: "total"}, new, [{0: "batch", 2: "past"} for _ in caches]),
        opset=config.opset,
    )
    graph = graph_of(step, traced.model, signature)
    check_traced(graph, path)
    save_graph(graph, path)


# Any: transformers types the fields of its configs for some architectures alone.
def _cache_shape(config: Any) -> tuple[int, int]:
    """Return H and A."""
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(heads), int(size)


class _Past:
    """A cache with transformers' interface, over tensors that are inputs of a graph."""

    def __init__(self, caches: Sequence[Tensor]) -> None:
        self.layers = [list(pair) for pair in zip(caches[0::2], caches[1::2], strict=True)]

    def get_seq_length(self, layer: int = 0) -> int:
        return self.layers[layer][0].shape[2]

    # Any: what else a layer says of itself.
    def update(
        self, keys: Tensor, values: Tensor, layer: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        pair = self.layers[layer]
        for number, new in enumerate((keys, values)):
            pair[number] = torch.cat([pair[number], new], dim=2)  # (B, H, T, A)
        return pair[0], pair[1]


class _Step(nn.Module):
    """A language model that reads some tokens, given the cache of earlier ones."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        names = inspect.signature(model.forward).parameters
        self.cache_name = "cache" if "cache" in names else "past_key_values"  # of transformers 5.0

    def forward(
        self, ids: Tensor, mask: Tensor, positions: Tensor, caches: list[Tensor]
    ) -> tuple[Tensor, ...]:
        cache = _Past(caches)
        result = self.model(
            input_ids=ids,
            attention_mask=_causal_mask(mask, ids.shape[1], caches[0].dtype),
            position_ids=positions,
            use_cache=True,
            **{self.cache_name: cache},
        )
        return (result.logits, *(each for pair in cache.layers for each in pair))


def _causal_mask(mask: Tensor, tokens: int, dtype: torch.dtype) -> Tensor:
    """Return the mask to add to scores, (B, 1, S, T), which is zero where a token may look."""
    columns = torch.arange(mask.shape[1], device=mask.device)
    rows = columns[mask.shape[1] - tokens :]
    is_before = columns[None, :] <= rows[:, None]  # (S, T)
    allowed = is_before[None, None] & (mask[:, None, None, :] == 1)
    scores = torch.zeros(allowed.shape, dtype=dtype, device=mask.device)
    return scores.masked_fill(~allowed, torch.finfo(dtype).min)


@torch.inference_mode()
def _expected(traced: Traced, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return the logits of whole texts as transformers itself makes them, (B, T, V)."""
    device = traced.model.device
    result: Any = traced.model(
        input_ids=torch.from_numpy(ids).to(device),
        attention_mask=torch.from_numpy(mask).to(device),
        position_ids=torch.from_numpy(positions_of(mask)).to(device),
        use_cache=False,
    )
    logits: np.ndarray = result.logits.cpu().numpy()
    return logits


def _texts(traced: Traced, batch: int, length: int, mask: str) -> tuple[np.ndarray, np.ndarray]:
    found = random_inputs(traced.model, _NAMES, batch=batch, length=length, mask=mask)
    return found["input_ids"].numpy(), found["attention_mask"].numpy()


def _compare_texts(
    traced: Traced, session: ort.InferenceSession, config: ExportConfig
) -> Iterator[Parity]:
    """Yield the difference of whole texts at every shape and mask."""
    for batch, length in (*_SHAPES, (1, traced.max_length)):
        length = min(length, traced.max_length)
        for mask in ("full", "right", "left", "hole"):
            ids, attended = _texts(traced, batch, length, mask)
            (found,) = session.run([LOGITS], first_inputs(session, ids, attended))
            real = attended == 1  # nobody reads the outputs of padding
            expected = _expected(traced, ids, attended)[real]
            yield make_parity(found[real], expected, traced.name, (batch, length, mask), config)


def _compare_steps(
    traced: Traced, session: ort.InferenceSession, config: ExportConfig
) -> Iterator[Parity]:
    """Yield the difference of texts that are read with the cache, in two parts and by tokens."""
    batch, length = 5, min(16, traced.max_length)
    start = max(1, length // 2)
    for mask in ("full", "left"):
        ids, attended = _texts(traced, batch, length, mask)
        expected = _expected(traced, ids, attended)
        for width in (length - start, 1):
            feeds = first_inputs(session, ids[:, :start], attended[:, :start])
            logits, *presents = session.run(None, feeds)
            parts = [logits]
            for at in range(start, length, max(1, width)):
                new = ids[:, at : at + width]
                feeds = next_inputs(new, attended[:, : at + width], presents)
                logits, *presents = session.run(None, feeds)
                parts.append(logits)
            real = attended == 1
            found = np.concatenate(parts, axis=1)[real]
            case = (batch, length, f"{mask}, {'by tokens' if width == 1 else 'in parts'}")
            yield make_parity(found, expected[real], traced.name, case, config)
