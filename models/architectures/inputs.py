"""Names of the tensors that a classifier takes, the same in PyTorch and in ONNX."""

from typing import Any

REQUIRED = ("input_ids", "attention_mask")
SEGMENTS = "token_type_ids"


# Any: transformers types the fields of its configs for some architectures alone.
def input_names(config: Any) -> tuple[str, ...]:
    """Return a model's inputs: token type ids only where the model tells segments apart."""
    return (*REQUIRED, SEGMENTS) if getattr(config, "type_vocab_size", 0) > 1 else REQUIRED
