"""Changes of the files of a checkpoint's weights: cut, torn, or several."""

import json
import random
from pathlib import Path

from safetensors.torch import load_file
from support.checkpoint_files import (
    INDEX,
    REFUSED,
    SAME,
    WEIGHTS,
    Change,
    Tensors,
    pick_tensor,
    read_tensors,
    save_tensors,
)


def _shard(folder: Path, rng: random.Random) -> list[str]:
    tensors = read_tensors(folder)
    parts: list[Tensors] = [{}, {}, {}]
    for number, (name, tensor) in enumerate(sorted(tensors.items())):
        parts[number % 3][name] = tensor
    rng.shuffle(parts)
    files = [f"model-0000{number}-of-00003.safetensors" for number in (1, 2, 3)]
    for file, part in zip(files, parts, strict=True):
        save_tensors(folder, part, file)
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
        del tensors[pick_tensor(tensors, rng)]
        save_tensors(folder, tensors, path)
    elif kind == 2:
        twice = load_file(folder / path) | dict(list(load_file(folder / other).items())[:1])
        save_tensors(folder, twice, path)
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


WEIGHT_FILE_CHANGES: tuple[Change, ...] = (
    _sharded,
    _torn_shards,
    _torn_index,
    _cut_weights,
)
