"""Fixtures: tiny language models, in torch and as a graph, with a tokenizer of bytes, and texts."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto, helper, numpy_helper
from onnx.parser import parse_graph
from support.tiny_models import BAD, DECODERS, GOOD
from support.tiny_store import make_once
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from pipeline.store.store import Store

_SPECIAL = ["<pad>", "<unk>", "<end>"]


def make_language_model(model_type: str, *, seed: int = 0, **settings: object) -> PreTrainedModel:
    """Return a random language model in eval mode: D = 32, two layers, 200 words."""
    shape = {
        "vocab_size": 200,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 96,
        "initializer_range": 0.2,
        "n_inner" if model_type == "gpt2" else "intermediate_size": 64,
        "pad_token_id": 0,
        "bos_token_id": 2,
        "eos_token_id": 2,
        "tie_word_embeddings": True,
    }
    if model_type in DECODERS:
        shape |= {"num_key_value_heads": 1, "head_dim": 16}
    torch.manual_seed(seed)
    config = AutoConfig.for_model(model_type, **shape | settings)
    return AutoModelForCausalLM.from_config(config).eval()


@pytest.fixture(scope="session")
def tiny_language_model(tiny_store: Store) -> Path:
    """A folder with a random Llama language model of 300 words and its tokenizer."""
    return make_once(tiny_store.root / "tiny-language", _write_model)


def _write_model(folder: Path) -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=_SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(), trainer)
    model = make_language_model("llama", vocab_size=300)
    model.save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=96,
        pad_token="<pad>",
        unk_token="<unk>",
        eos_token="<end>",
    ).save_pretrained(folder)


@pytest.fixture(scope="session")
def tiny_texts_jsonl(tiny_store: Store) -> Path:
    """A JSONL file with the column text: 160 sentences of one pattern, some with an em dash."""
    return make_once(tiny_store.root / "texts.jsonl", _write_texts)


def _write_texts(path: Path) -> None:
    lines = [json.dumps({"text": text}) for text in _texts()]
    path.write_text("\n".join(lines), encoding="utf-8")


def _texts() -> list[str]:
    rng = random.Random(0)
    texts: dict[str, None] = {}
    while len(texts) < 160:
        first, second = rng.choice(GOOD.split()), rng.choice(BAD.split())
        thing = rng.choice(["film", "plot", "music", "scene", "script"])
        dash = rng.choice([", but", " \N{EM DASH} and"])
        texts[f"the {thing} is {first}{dash} the ending was {second} {rng.randint(1, 99)}."] = None
    return list(texts)


def make_decoder(*, vocab_size: int = 300, hidden_size: int = 8, seed: int = 0) -> ModelProto:
    """Return a graph with a cache: what follows depends on all tokens before, and on positions."""
    rng = np.random.default_rng(seed)
    weights = {
        "table": rng.normal(size=(vocab_size, hidden_size)),
        "places": rng.normal(size=(96, hidden_size)),
        "head": rng.normal(size=(hidden_size, vocab_size)),
    }
    constants = {"one": [1], "two": [2], "end": [2**31], "axis": 2}
    graph = parse_graph(f"""
        decoder (int64[batch, sequence] input_ids, int64[batch, total] attention_mask,
                 int64[batch, sequence] position_ids,
                 float[batch, 1, past, {hidden_size}] past_0,
                 float[batch, 1, past, {hidden_size}] past_1)
            => (float[batch, sequence, {vocab_size}] logits,
                float[batch, 1, total, {hidden_size}] present_0,
                float[batch, 1, total, {hidden_size}] present_1) {{
            size = Shape<start = 1, end = 2>(input_ids)
            start = Neg(size)
            new = Slice(attention_mask, start, end, one)
            real = Cast<to = 1>(new)
            shown = Unsqueeze(real, two)
            words = Gather(table, input_ids)
            seen = Mul(words, shown)
            key = Unsqueeze(seen, one)
            value = Relu(key)
            present_0 = Concat<axis = 2>(past_0, key)
            present_1 = Concat<axis = 2>(past_1, value)
            sums = CumSum(present_1, axis)
            last = Slice(sums, start, end, two)
            state = Squeeze(last, one)
            place = Gather(places, position_ids)
            placed = Add(state, place)
            both = Add(placed, words)
            logits = MatMul(both, head)
        }}""")
    graph.initializer.extend(
        numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()
    )
    graph.initializer.extend(
        numpy_helper.from_array(np.array(value, dtype=np.int64), name)
        for name, value in constants.items()
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    names = {f"past_{at}": f"past_key_values.0.{part}" for at, part in enumerate(("key", "value"))}
    names |= {f"present_{at}": f"present.0.{part}" for at, part in enumerate(("key", "value"))}
    for each in (*model.graph.input, *model.graph.output):
        each.name = names.get(each.name, each.name)
    for node in model.graph.node:
        for values in (node.input, node.output):
            values[:] = [names.get(name, name) for name in values]
    return model


@pytest.fixture(scope="session")
def write_language_bundle(tiny_language_model: Path) -> Callable[..., Path]:
    """``write_language_bundle(folder, seed=0)``: a bundle with a tiny decoder and a tokenizer."""

    def write_language_bundle(folder: Path, **settings: int) -> Path:
        (folder / "onnx").mkdir(parents=True)
        onnx.save(make_decoder(**settings), folder / "onnx" / "model.onnx")
        config = {
            "architectures": ["LlamaForCausalLM"],
            "vocab_size": settings.get("vocab_size", 300),
            "eos_token_id": 2,
            "pad_token_id": 0,
            "max_position_embeddings": 96,
        }
        (folder / "config.json").write_text(json.dumps(config))
        for name in ("tokenizer.json", "tokenizer_config.json"):
            (folder / name).write_bytes((tiny_language_model / name).read_bytes())
        return folder

    return write_language_bundle
