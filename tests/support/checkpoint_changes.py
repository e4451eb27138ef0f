"""Random changes of a checkpoint's folder, each with what a reader must make of it.

``SAME``: the same model, so the same outputs. ``BACKBONE``: the same backbone under a new head.
``REFUSED``: one message. ``ANOTHER``: a sound model of its own, which strict loading agrees with.
"""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

SAME, BACKBONE, REFUSED, ANOTHER = "same", "backbone", "refused", "another"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
LABELS = ("negative", "neutral", "positive")

Tensors = dict[str, Tensor]
Change = Callable[[Path, random.Random], str]
"""(copy of a checkpoint, draws) -> what a reader must make of it."""


@dataclass(frozen=True, kw_only=True)
class Changed:
    """What was done to a folder."""

    name: str
    verdict: str


def change_checkpoint(folder: Path, number: int) -> Changed:
    """Change a sound copy in place, by the number of a change."""
    rng = random.Random(f"checkpoint {number}")
    names = list(CHANGES)
    name = names[number % len(names)]
    return Changed(name=name, verdict=CHANGES[name](folder, rng))


def is_head(name: str) -> bool:
    """Tell whether a tensor is outside of the backbone, the pooler included."""
    return name.startswith(("classifier.", "score.")) or "pooler" in name


def _tensors(folder: Path) -> Tensors:
    return load_file(folder / WEIGHTS)


def _save(folder: Path, tensors: Tensors, name: str = WEIGHTS) -> None:
    copies = {name: tensor.clone().contiguous() for name, tensor in tensors.items()}
    save_file(copies, folder / name, metadata={"format": "pt"})


def _pick(tensors: Tensors, rng: random.Random, *, head: bool = False) -> str:
    return rng.choice(sorted(name for name in tensors if is_head(name) == head))


def _edit(folder: Path, name: str, **values: object) -> None:
    path = folder / name
    said = json.loads(path.read_text()) | values
    path.write_text(json.dumps(said))


def _config(folder: Path) -> dict[str, object]:
    return json.loads((folder / "config.json").read_text())


# Tensors that are not there, or not the ones.


def _missing(folder: Path, rng: random.Random) -> str:
    tensors = _tensors(folder)
    for _ in range(rng.choice([1, 1, 3])):
        del tensors[_pick(tensors, rng)]
    _save(folder, tensors)
    return REFUSED


def _without_head(folder: Path, _rng: random.Random) -> str:
    _save(folder, {name: t for name, t in _tensors(folder).items() if not is_head(name)})
    return BACKBONE


def _half_head(folder: Path, rng: random.Random) -> str:
    tensors = _tensors(folder)
    chosen = _pick(tensors, rng, head=True)
    del tensors[chosen]
    _save(folder, tensors)
    module = chosen.rpartition(".")[0]
    return REFUSED if any(name.rpartition(".")[0] == module for name in tensors) else BACKBONE


def _renamed(folder: Path, rng: random.Random) -> str:
    tensors = _tensors(folder)
    name = _pick(tensors, rng)
    new = rng.choice([f"{name}x", f"x{name}", name.upper(), name.replace(".", "_"), f"{name}.0"])
    tensors[new] = tensors.pop(name)
    _save(folder, tensors)
    return REFUSED


def _reshaped(folder: Path, rng: random.Random) -> str:
    tensors = _tensors(folder)
    name = _pick(tensors, rng)
    tensor = tensors[name]
    shapes = [tensor[:-1], tensor[None], torch.cat([tensor, tensor]), tensor[:0]]
    if tensor.ndim == 2:
        shapes += [tensor.flatten(), tensor[:, :-1]]
        shapes += [tensor.T] if len(set(tensor.shape)) == 2 else []
    tensors[name] = rng.choice(shapes)
    _save(folder, tensors)
    return REFUSED


def _recast(folder: Path, rng: random.Random) -> str:
    tensors = _tensors(folder)
    types = [torch.float16, torch.bfloat16, torch.float64]
    kind = rng.choice(types)
    chosen = set(tensors) if rng.random() < 0.6 else {_pick(tensors, rng)}
    _save(folder, {n: t.to(kind) if n in chosen else t for n, t in tensors.items()})
    if rng.random() < 0.5:
        _edit(folder, "config.json", dtype=str(kind).removeprefix("torch."))
    return SAME


def _not_floating(folder: Path, rng: random.Random) -> str:
    tensors = _tensors(folder)
    kind = rng.choice([torch.int8, torch.int64, torch.uint8, torch.bool, torch.float8_e4m3fn])
    chosen = set(tensors) if rng.random() < 0.3 else {_pick(tensors, rng)}
    _save(folder, {n: t.to(kind) if n in chosen else t for n, t in tensors.items()})
    return REFUSED


def _not_finite(folder: Path, rng: random.Random) -> str:
    tensors = _tensors(folder)
    chosen = tensors[_pick(tensors, rng)]
    chosen.view(-1)[rng.randrange(chosen.numel())] = rng.choice([torch.nan, torch.inf, -torch.inf])
    _save(folder, tensors)
    return REFUSED


def _overflowing(folder: Path, rng: random.Random) -> str:
    tensors = _tensors(folder)
    name = _pick(tensors, rng)
    tensors[name] = tensors[name].double() + 1e300
    _save(folder, tensors)
    return REFUSED


# Names of wrapped models, of other tasks, of older versions.


def _wrapped(folder: Path, rng: random.Random) -> str:
    prefix = rng.choice(
        ["module.", "_orig_mod.", "module._orig_mod.", "model.", "net.encoder.", "_orig_mod.model."]
    )
    _save(folder, {f"{prefix}{name}": t for name, t in _tensors(folder).items()})
    return SAME


def _wrapped_inside(folder: Path, rng: random.Random) -> str:
    part = rng.choice([".0.", ".1."])
    new = {n.replace(part, f"{part}_orig_mod.", 1): t for n, t in _tensors(folder).items()}
    _save(folder, new)
    return SAME


def _half_wrapped(folder: Path, rng: random.Random) -> str:
    tensors = _tensors(folder)
    chosen = _pick(tensors, rng)
    prefix = rng.choice(["module.", "net."])
    _save(folder, {f"{prefix}{n}" if n == chosen else n: t for n, t in tensors.items()})
    return REFUSED


def _two_models(folder: Path, _rng: random.Random) -> str:
    tensors = _tensors(folder)
    first = {f"query.{name}": tensor for name, tensor in tensors.items()}
    _save(folder, first | {f"passage.{name}": tensor * 2 for name, tensor in tensors.items()})
    return REFUSED


def _bare(folder: Path, _rng: random.Random) -> str:
    base = {name.split(".")[0] for name in _tensors(folder) if not is_head(name)}.pop()
    inside = {n: t for n, t in _tensors(folder).items() if n.startswith(f"{base}.")}
    _save(folder, {name.removeprefix(f"{base}."): tensor for name, tensor in inside.items()})
    return BACKBONE


def _old_names(folder: Path, _rng: random.Random) -> str:
    def old(name: str) -> str:
        name = name.replace("LayerNorm.weight", "LayerNorm.gamma")
        return name.replace("LayerNorm.bias", "LayerNorm.beta")

    _save(folder, {old(name): tensor for name, tensor in _tensors(folder).items()})
    return SAME


def _strangers(folder: Path, rng: random.Random) -> str:
    names = ["cls.predictions.bias", "lm_head.weight", "qa_outputs.bias", "linear.weight"]
    names += ["embeddings.position_ids", "roberta.embeddings.position_ids"]
    chosen = {name: torch.zeros(1, 4).long() for name in rng.sample(names, 2)}
    chosen = {n: t if "position_ids" in n else t.float() for n, t in chosen.items()}
    _save(folder, _tensors(folder) | chosen)
    return SAME


def _more_layers(folder: Path, rng: random.Random) -> str:
    tensors = _tensors(folder)
    more = {n.replace(".1.", ".2.", 1): t for n, t in tensors.items() if ".1." in n}
    if not more:  # one shared layer: something else that has no place
        more = {f"{_pick(tensors, rng)}.lora_A": torch.zeros(4, 4)}
    _save(folder, tensors | more)
    return REFUSED


def _adapted(folder: Path, rng: random.Random) -> str:
    tensors = _tensors(folder)
    module = _pick(tensors, rng).rpartition(".")[0]
    name = rng.choice(["adapters.a.adapter_down.0", "lora_A.default", "new"])
    _save(folder, tensors | {f"{module}.{name}.weight": torch.zeros(4, 4)})
    return REFUSED


# Files that are cut, torn, or several.


def _shard(folder: Path, rng: random.Random) -> list[str]:
    tensors = _tensors(folder)
    parts: list[Tensors] = [{}, {}, {}]
    for number, (name, tensor) in enumerate(sorted(tensors.items())):
        parts[number % 3][name] = tensor
    rng.shuffle(parts)
    files = [f"model-0000{number}-of-00003.safetensors" for number in (1, 2, 3)]
    for file, part in zip(files, parts, strict=True):
        _save(folder, part, file)
    listed = {n: file for file, part in zip(files, parts, strict=True) for n in part}
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": listed}))
    (folder / WEIGHTS).unlink()
    return files


def _sharded(folder: Path, rng: random.Random) -> str:
    _shard(folder, rng)
    return SAME


def _torn_shards(folder: Path, rng: random.Random) -> str:
    files = _shard(folder, rng)
    path, other = rng.sample(files, 2)
    kind = rng.randrange(5)
    if kind == 0:
        (folder / path).unlink()
    elif kind == 1:
        tensors = load_file(folder / path)
        del tensors[_pick(tensors, rng)]
        _save(folder, tensors, path)
    elif kind == 2:
        twice = load_file(folder / path) | dict(list(load_file(folder / other).items())[:1])
        _save(folder, twice, path)
    elif kind == 3:
        (folder / path).write_bytes((folder / path).read_bytes()[: rng.randrange(2000)])
    else:
        listed = json.loads((folder / INDEX).read_text())["weight_map"]
        listed[rng.choice(sorted(listed))] = rng.choice(
            ["../other.safetensors", "gone.safetensors"]
        )
        (folder / INDEX).write_text(json.dumps({"weight_map": listed}))
    return REFUSED


def _torn_index(folder: Path, rng: random.Random) -> str:
    _shard(folder, rng)
    content = rng.choice(["", "{", "[]", '{"weight_map": 3}', '{"weight_map": {}}', "null"])
    (folder / INDEX).write_text(content)
    return REFUSED


def _cut_weights(folder: Path, rng: random.Random) -> str:
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[: rng.randrange(len(content))])
    return REFUSED


# Configs that say something else than the weights.


def _other_size(folder: Path, rng: random.Random) -> str:
    config = _config(folder)
    grown = {"hidden_size": 64, "n_embd": 64, "vocab_size": 200, "num_hidden_layers": 3}
    grown |= {"n_layer": 3, "intermediate_size": 96, "n_inner": 96, "type_vocab_size": 3}
    # Rotary positions, and layers that are shared, are in no tensor.
    grown |= {} if config["model_type"] == "llama" else {"max_position_embeddings": 1024}
    if config["model_type"] == "albert":
        del grown["num_hidden_layers"]
    name = rng.choice([name for name in grown if name in config])
    _edit(folder, "config.json", **{name: grown[name]})
    return REFUSED


def _fewer_layers(folder: Path, _rng: random.Random) -> str:
    config = _config(folder)
    name = "n_layer" if "n_layer" in config else "num_hidden_layers"
    _edit(folder, "config.json", **{name: 1})
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
    _edit(folder, "config.json", **({name: value} if name in _config(folder) else {}))
    return ANOTHER


def _other_type(folder: Path, rng: random.Random) -> str:
    kinds = ["bert", "roberta", "electra", "distilbert", "gpt2", "llama", "albert", "mpnet", "t5"]
    kinds = [kind for kind in kinds if kind != _config(folder)["model_type"]]
    values: dict[str, object] = {"model_type": rng.choice(kinds)}
    if rng.random() < 0.5:
        values["architectures"] = None
    _edit(folder, "config.json", **values)
    return REFUSED


def _other_class(folder: Path, rng: random.Random) -> str:
    classes = ["RobertaModel", "T5Model", "DistilBertForMaskedLM", "Qwen2ForCausalLM"]
    _edit(folder, "config.json", architectures=[rng.choice(classes)])
    return REFUSED


def _quantised(folder: Path, rng: random.Random) -> str:
    method = rng.choice([{"load_in_8bit": True}, {"quant_method": "gptq", "bits": 4}])
    _edit(folder, "config.json", quantization_config=method)
    return REFUSED


def _other_labels(folder: Path, _rng: random.Random) -> str:
    names = {str(number): name for number, name in enumerate(reversed(LABELS))}
    _edit(folder, "config.json", id2label=names)
    return REFUSED


def _more_labels(folder: Path, _rng: random.Random) -> str:
    names = {str(number): f"class{number}" for number in range(5)}
    _edit(folder, "config.json", id2label=names, label2id={n: int(i) for i, n in names.items()})
    return SAME  # the run's labels name the classes that the head has


def _cut_config(folder: Path, rng: random.Random) -> str:
    content = (folder / "config.json").read_bytes()
    (folder / "config.json").write_bytes(content[: rng.randrange(len(content) - 1)])
    return REFUSED


# Tokenizers that are missing, damaged, or not the model's.


def _no_tokenizer(folder: Path, rng: random.Random) -> str:
    (folder / "tokenizer.json").unlink()
    if rng.random() < 0.5:
        (folder / "tokenizer_config.json").unlink()
    return REFUSED


def _cut_tokenizer(folder: Path, rng: random.Random) -> str:
    path = folder / rng.choice(["tokenizer.json", "tokenizer_config.json"])
    content = path.read_bytes()
    path.write_bytes(content[: rng.randrange(len(content) - 2)])
    return REFUSED


def _larger_vocabulary(folder: Path, rng: random.Random) -> str:
    said = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = said["model"]["vocab"]
    word = rng.choice(sorted(word for word in vocabulary if word.isalpha()))
    vocabulary[f"{word}x"] = _config(folder)["vocab_size"] + rng.choice([0, 5, 1000])
    (folder / "tokenizer.json").write_text(json.dumps(said))
    return REFUSED


def _smaller_vocabulary(folder: Path, rng: random.Random) -> str:
    said = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = said["model"]["vocab"]
    keep = rng.randrange(5, 40)
    said["model"]["vocab"] = {word: i for word, i in vocabulary.items() if i < keep}
    (folder / "tokenizer.json").write_text(json.dumps(said))
    return REFUSED


def _two_readings(folder: Path, rng: random.Random) -> str:
    kind = rng.randrange(3)
    if kind == 0:
        _edit(folder, "tokenizer_config.json", do_lower_case=False)
    elif kind == 1:
        said = json.loads((folder / "tokenizer.json").read_text())
        said["normalizer"] = rng.choice([None, {"type": "NFC"}])
        (folder / "tokenizer.json").write_text(json.dumps(said))
    else:
        other = rng.choice(["RobertaTokenizer", "GPT2Tokenizer", "AlbertTokenizer"])
        _edit(folder, "tokenizer_config.json", tokenizer_class=other)
    return REFUSED


def _generic_class(folder: Path, _rng: random.Random) -> str:
    _edit(folder, "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")
    return SAME


def _vocabulary_file(folder: Path, _rng: random.Random) -> str:
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    (folder / "tokenizer.json").unlink()
    words = sorted(vocabulary, key=vocabulary.get)
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    return SAME


def _odd_limit(folder: Path, rng: random.Random) -> str:
    limit = rng.choice([0, -1, 1, 1.5, "512", True, [16], {}, float("inf"), float("nan")])
    _edit(folder, "tokenizer_config.json", model_max_length=limit)
    return REFUSED


def _odd_side(folder: Path, rng: random.Random) -> str:
    name = rng.choice(["truncation_side", "padding_side"])
    side = rng.choice(["left", "right", "top", None, 3])
    _edit(folder, "tokenizer_config.json", **{name: side})
    return SAME if side in ("left", "right") else REFUSED


def _odd_special(folder: Path, rng: random.Random) -> str:
    name = rng.choice(["pad_token", "cls_token", "sep_token"])
    _edit(folder, "tokenizer_config.json", **{name: "<not in the vocabulary>"})
    # The models have embeddings to spare, and what pads is masked.
    return SAME if name == "pad_token" else REFUSED


CHANGES: dict[str, Change] = {
    function.__name__.strip("_"): function
    for function in (
        *(_missing, _without_head, _half_head, _renamed, _reshaped, _recast, _not_floating),
        *(_not_finite, _overflowing, _wrapped, _wrapped_inside, _half_wrapped, _two_models, _bare),
        *(_old_names, _strangers, _more_layers, _adapted, _sharded, _torn_shards, _torn_index),
        *(_cut_weights, _other_size, _fewer_layers, _other_setting, _other_type, _other_class),
        *(_quantised, _other_labels, _more_labels, _cut_config, _no_tokenizer, _cut_tokenizer),
        *(_larger_vocabulary, _smaller_vocabulary, _two_readings, _generic_class),
        *(_vocabulary_file, _odd_limit, _odd_side, _odd_special),
    )
}
"""Changes by name."""
