"""Changes of a checkpoint's config: it says something else than the weights."""

import random
from pathlib import Path

from support.checkpoint_files import (
    ANOTHER,
    LABELS,
    REFUSED,
    SAME,
    Change,
    edit_json,
    read_settings,
)


def _other_size(folder: Path, rng: random.Random) -> str:
    config = read_settings(folder)
    grown = {"hidden_size": 64, "n_embd": 64, "vocab_size": 200, "num_hidden_layers": 3}
    grown |= {"n_layer": 3, "intermediate_size": 96, "n_inner": 96, "type_vocab_size": 3}
    # Rotary positions, and layers that are shared, are in no tensor.
    grown |= {} if config["model_type"] == "llama" else {"max_position_embeddings": 1024}
    if config["model_type"] == "albert":
        del grown["num_hidden_layers"]
    name = rng.choice([name for name in grown if name in config])
    edit_json(folder, "config.json", **{name: grown[name]})
    return REFUSED


def _fewer_layers(folder: Path, _rng: random.Random) -> str:
    config = read_settings(folder)
    name = "n_layer" if "n_layer" in config else "num_hidden_layers"
    edit_json(folder, "config.json", **{name: 1})
    return ANOTHER if config["model_type"] == "albert" else REFUSED


def _other_setting(folder: Path, rng: random.Random) -> str:
    name, value = rng.choice(
        [
            ("layer_norm_eps", 1e-3),
            ("layer_norm_epsilon", 1e-3),
            ("rms_norm_eps", 1e-3),
            ("hidden_act", "relu"),
            ("activation_function", "relu"),
            ("num_attention_heads", 4),
            ("attention_probs_dropout_prob", 0.3),
            ("initializer_range", 0.5),
        ]
    )
    edit_json(folder, "config.json", **({name: value} if name in read_settings(folder) else {}))
    return ANOTHER


def _other_type(folder: Path, rng: random.Random) -> str:
    kinds = ["bert", "roberta", "electra", "distilbert", "gpt2", "llama", "albert", "mpnet", "t5"]
    kinds = [kind for kind in kinds if kind != read_settings(folder)["model_type"]]
    values: dict[str, object] = {"model_type": rng.choice(kinds)}
    if rng.random() < 0.5:
        values["architectures"] = None
    edit_json(folder, "config.json", **values)
    return REFUSED


def _other_class(folder: Path, rng: random.Random) -> str:
    classes = ["RobertaModel", "T5Model", "DistilBertForMaskedLM", "Qwen2ForCausalLM"]
    edit_json(folder, "config.json", architectures=[rng.choice(classes)])
    return REFUSED


def _quantised(folder: Path, rng: random.Random) -> str:
    method = rng.choice([{"load_in_8bit": True}, {"quant_method": "gptq", "bits": 4}])
    edit_json(folder, "config.json", quantization_config=method)
    return REFUSED


def _other_labels(folder: Path, _rng: random.Random) -> str:
    names = {str(number): name for number, name in enumerate(reversed(LABELS))}
    edit_json(folder, "config.json", id2label=names)
    return REFUSED


def _more_labels(folder: Path, _rng: random.Random) -> str:
    names = {str(number): f"class{number}" for number in range(5)}
    edit_json(folder, "config.json", id2label=names, label2id={n: int(i) for i, n in names.items()})
    return SAME  # the run's labels name the classes that the head has


def _cut_config(folder: Path, rng: random.Random) -> str:
    content = (folder / "config.json").read_bytes()
    (folder / "config.json").write_bytes(content[: rng.randrange(len(content) - 1)])
    return REFUSED


CONFIG_CHANGES: tuple[Change, ...] = (
    _other_size,
    _fewer_layers,
    _other_setting,
    _other_type,
    _other_class,
    _quantised,
    _other_labels,
    _more_labels,
    _cut_config,
)
