"""``genai_config.json``: the settings of onnxruntime-genai to generate with a bundle's graph.

They name the graph's inputs and outputs, and the graph stays unchanged for all other readers.
"""

import json
from pathlib import Path
from typing import Any

from pipeline.inference.cache import LOGITS, PAST, POSITIONS, PRESENT
from pipeline.store.files import write_atomic

GENAI_CONFIG = "genai_config.json"
_KNOWN = ("llama", "mistral", "qwen2", "qwen3")
"""Model types that onnxruntime-genai runs as decoders, with two tensors of cache per layer."""


def write_genai_config(bundle: Path, file: str) -> None:
    """Write the file into a bundle, from its ``config.json``, if onnxruntime-genai knows its type.

    Args:
        bundle: Folder of the bundle.
        file: Name of the ONNX file to run, in the bundle's ``onnx``.
    """
    config = json.loads((bundle / "config.json").read_text(encoding="utf-8"))
    if config.get("model_type") in _KNOWN:
        content = json.dumps(_describe(config, f"onnx/{file}"), indent=2)
        write_atomic(bundle / GENAI_CONFIG, content)


# Any: a transformers ``config.json``, and plain JSON.
def _describe(config: dict[str, Any], path: str) -> dict[str, Any]:
    heads, size = config["num_attention_heads"], config["hidden_size"]
    longest = config.get("sliding_window") or config["max_position_embeddings"]
    return {
        "model": {
            "type": config["model_type"],
            "vocab_size": config["vocab_size"],
            "context_length": min(longest, config["max_position_embeddings"]),
            **{
                f"{name}_token_id": config[f"{name}_token_id"]
                for name in ("bos", "eos", "pad")
                if config.get(f"{name}_token_id") is not None
            },
            "decoder": {
                "filename": path,
                "session_options": {"log_id": "onnxruntime-genai", "provider_options": []},
                "hidden_size": size,
                "head_size": config.get("head_dim") or size // heads,
                "num_hidden_layers": config["num_hidden_layers"],
                "num_attention_heads": heads,
                "num_key_value_heads": config.get("num_key_value_heads") or heads,
                "inputs": {
                    "input_ids": "input_ids",
                    "attention_mask": "attention_mask",
                    "position_ids": POSITIONS,
                    "past_key_names": f"{PAST}%d.key",
                    "past_value_names": f"{PAST}%d.value",
                },
                "outputs": {
                    "logits": LOGITS,
                    "present_key_names": f"{PRESENT}%d.key",
                    "present_value_names": f"{PRESENT}%d.value",
                },
            },
        },
        "search": {
            "do_sample": False,
            "max_length": min(longest, config["max_position_embeddings"]),
            "past_present_share_buffer": False,
        },
    }
