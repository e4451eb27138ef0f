"""Changes of a checkpoint's tensors and their names."""

import random
from pathlib import Path

import torch
from support.checkpoint_files import (
    BACKBONE,
    REFUSED,
    SAME,
    Change,
    edit_json,
    is_head,
    pick_tensor,
    read_tensors,
    save_tensors,
)


def _missing(folder: Path, rng: random.Random) -> str:
    tensors = read_tensors(folder)
    for _ in range(rng.choice([1, 1, 3])):
        del tensors[pick_tensor(tensors, rng)]
    save_tensors(folder, tensors)
    return REFUSED


def _without_head(folder: Path, _rng: random.Random) -> str:
    save_tensors(folder, {name: t for name, t in read_tensors(folder).items() if not is_head(name)})
    return BACKBONE


def _half_head(folder: Path, rng: random.Random) -> str:
    tensors = read_tensors(folder)
    chosen = pick_tensor(tensors, rng, head=True)
    del tensors[chosen]
    save_tensors(folder, tensors)
    module = chosen.rpartition(".")[0]
    return REFUSED if any(name.rpartition(".")[0] == module for name in tensors) else BACKBONE


def _renamed(folder: Path, rng: random.Random) -> str:
    tensors = read_tensors(folder)
    name = pick_tensor(tensors, rng)
    new = rng.choice([f"{name}x", f"x{name}", name.upper(), name.replace(".", "_"), f"{name}.0"])
    tensors[new] = tensors.pop(name)
    save_tensors(folder, tensors)
    return REFUSED


def _reshaped(folder: Path, rng: random.Random) -> str:
    tensors = read_tensors(folder)
    name = pick_tensor(tensors, rng)
    tensor = tensors[name]
    shapes = [tensor[:-1], tensor[None], torch.cat([tensor, tensor]), tensor[:0]]
    if tensor.ndim == 2:
        shapes += [tensor.flatten(), tensor[:, :-1]]
        shapes += [tensor.T] if len(set(tensor.shape)) == 2 else []
    tensors[name] = rng.choice(shapes)
    save_tensors(folder, tensors)
    return REFUSED


def _recast(folder: Path, rng: random.Random) -> str:
    tensors = read_tensors(folder)
    types = [torch.float16, torch.bfloat16, torch.float64]
    kind = rng.choice(types)
    chosen = set(tensors) if rng.random() < 0.6 else {pick_tensor(tensors, rng)}
    save_tensors(folder, {n: t.to(kind) if n in chosen else t for n, t in tensors.items()})
    if rng.random() < 0.5:
        edit_json(folder, "config.json", dtype=str(kind).removeprefix("torch."))
    return SAME


def _not_floating(folder: Path, rng: random.Random) -> str:
    tensors = read_tensors(folder)
    kind = rng.choice([torch.int8, torch.int64, torch.uint8, torch.bool, torch.float8_e4m3fn])
    chosen = set(tensors) if rng.random() < 0.3 else {pick_tensor(tensors, rng)}
    save_tensors(folder, {n: t.to(kind) if n in chosen else t for n, t in tensors.items()})
    return REFUSED


def _not_finite(folder: Path, rng: random.Random) -> str:
    tensors = read_tensors(folder)
    chosen = tensors[pick_tensor(tensors, rng)]
    chosen.view(-1)[rng.randrange(chosen.numel())] = rng.choice([torch.nan, torch.inf, -torch.inf])
    save_tensors(folder, tensors)
    return REFUSED


def _overflowing(folder: Path, rng: random.Random) -> str:
    tensors = read_tensors(folder)
    name = pick_tensor(tensors, rng)
    tensors[name] = tensors[name].double() + 1e300
    save_tensors(folder, tensors)
    return REFUSED


# Names of wrapped models, of other tasks, of older versions.


def _wrapped(folder: Path, rng: random.Random) -> str:
    prefix = rng.choice(
        ["module.", "_orig_mod.", "module._orig_mod.", "model.", "net.encoder.", "_orig_mod.model."]
    )
    save_tensors(folder, {f"{prefix}{name}": t for name, t in read_tensors(folder).items()})
    return SAME


def _wrapped_inside(folder: Path, rng: random.Random) -> str:
    part = rng.choice([".0.", ".1."])
    new = {n.replace(part, f"{part}_orig_mod.", 1): t for n, t in read_tensors(folder).items()}
    save_tensors(folder, new)
    return SAME


def _half_wrapped(folder: Path, rng: random.Random) -> str:
    tensors = read_tensors(folder)
    chosen = pick_tensor(tensors, rng)
    prefix = rng.choice(["module.", "net."])
    save_tensors(folder, {f"{prefix}{n}" if n == chosen else n: t for n, t in tensors.items()})
    return REFUSED


def _two_models(folder: Path, _rng: random.Random) -> str:
    tensors = read_tensors(folder)
    first = {f"query.{name}": tensor for name, tensor in tensors.items()}
    save_tensors(
        folder, first | {f"passage.{name}": tensor * 2 for name, tensor in tensors.items()}
    )
    return REFUSED


def _bare(folder: Path, _rng: random.Random) -> str:
    base = {name.split(".")[0] for name in read_tensors(folder) if not is_head(name)}.pop()
    inside = {n: t for n, t in read_tensors(folder).items() if n.startswith(f"{base}.")}
    save_tensors(folder, {name.removeprefix(f"{base}."): tensor for name, tensor in inside.items()})
    return BACKBONE


def _old_names(folder: Path, _rng: random.Random) -> str:
    def old(name: str) -> str:
        name = name.replace("LayerNorm.weight", "LayerNorm.gamma")
        return name.replace("LayerNorm.bias", "LayerNorm.beta")

    save_tensors(folder, {old(name): tensor for name, tensor in read_tensors(folder).items()})
    return SAME


def _strangers(folder: Path, rng: random.Random) -> str:
    names = ["cls.predictions.bias", "lm_head.weight", "qa_outputs.bias", "linear.weight"]
    names += ["embeddings.position_ids", "roberta.embeddings.position_ids"]
    chosen = {name: torch.zeros(1, 4).long() for name in rng.sample(names, 2)}
    chosen = {n: t if "position_ids" in n else t.float() for n, t in chosen.items()}
    save_tensors(folder, read_tensors(folder) | chosen)
    return SAME


def _more_layers(folder: Path, rng: random.Random) -> str:
    tensors = read_tensors(folder)
    more = {n.replace(".1.", ".2.", 1): t for n, t in tensors.items() if ".1." in n}
    if not more:  # one shared layer: something else that has no place
        more = {f"{pick_tensor(tensors, rng)}.lora_A": torch.zeros(4, 4)}
    save_tensors(folder, tensors | more)
    return REFUSED


def _adapted(folder: Path, rng: random.Random) -> str:
    tensors = read_tensors(folder)
    module = pick_tensor(tensors, rng).rpartition(".")[0]
    name = rng.choice(["adapters.a.adapter_down.0", "lora_A.default", "new"])
    save_tensors(folder, tensors | {f"{module}.{name}.weight": torch.zeros(4, 4)})
    return REFUSED


TENSOR_CHANGES: tuple[Change, ...] = (
    _missing,
    _without_head,
    _half_head,
    _renamed,
    _reshaped,
    _recast,
    _not_floating,
    _not_finite,
    _overflowing,
    _wrapped,
    _wrapped_inside,
    _half_wrapped,
    _two_models,
    _bare,
    _old_names,
    _strangers,
    _more_layers,
    _adapted,
)
