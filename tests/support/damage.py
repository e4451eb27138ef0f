"""Damaged copies of sound folders, and what a reader made of them: succeeded, or said so."""

import json
import random
import shutil
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from pipeline.errors import InputError

Damage = Callable[[Path], None]
VALUES = (None, True, -1, 0, 1.5, "x", "", [], [1], ["x"], {}, {"x": 1}, [[[]]])


def damages(
    folder: Path, *, values: tuple[object, ...] = VALUES, deepest: int = 4, seed: int = 0
) -> Iterator[tuple[str, Damage]]:
    """Yield damages of each file of a folder, by their names: each changes one copy of it.

    Args:
        folder: A sound one.
        values: What each value in its JSON files is replaced with in turn, for the seed 0.
        deepest: Keys, one inside the other, down to which they are.
        seed: Of random bytes; others than 0 give only those.
    """
    for path in sorted(each for each in folder.rglob("*") if each.is_file()):
        name = str(path.relative_to(folder))
        yield from ((f"{name}: {kind}", damage) for kind, damage in _of_bytes(name, seed))
        if seed:
            continue
        if path.suffix == ".json":
            yield from _of_json(name, json.loads(path.read_text()), values, deepest)
        if path.suffix in (".safetensors", ".bin"):
            yield from ((f"{name}: {kind}", damage) for kind, damage in _of_tensors(name))


def problems(
    sound: Path,
    scratch: Path,
    read: Callable[[Path], object],
    *,
    chosen: Iterable[tuple[str, Damage]] | None = None,
    every: int = 1,
) -> list[str]:
    """Return what a reader did with damaged copies that it must not do, each with its damage.

    It may succeed, or raise an `InputError` that names the folder; nothing else.

    Args:
        sound: The folder that is copied.
        scratch: Where the copies are made.
        read: The reader.
        chosen: The damages; by default all.
        every: Only every so many-th of them, where reading takes long.
    """
    copy = scratch / "copy"
    read(sound)
    wrong = []
    for name, damage in islice(chosen or damages(sound), 0, None, every):
        shutil.copytree(sound, copy)
        damage(copy)
        try:
            read(copy)
        except InputError as error:
            if str(copy) not in str(error):
                wrong.append(f"{name}: its message names no path: {error}")
        except BaseException as error:
            wrong.append(f"{name}: {error!r}")
        shutil.rmtree(copy)
    return wrong


def _of_bytes(name: str, seed: int) -> Iterator[tuple[str, Damage]]:
    rng = random.Random(f"{name} {seed}")
    yield "random bytes", lambda folder: (folder / name).write_bytes(rng.randbytes(200))
    for number in range(4):
        yield f"flipped {number}", lambda folder: _flip(folder / name, rng)
    if seed:
        return
    yield "deleted", lambda folder: (folder / name).unlink()
    yield "empty", lambda folder: (folder / name).write_bytes(b"")
    yield "not UTF-8", lambda folder: (folder / name).write_bytes(b'{"\xff\xfe": "\xc3\x28"}')
    yield "nested deeply", lambda folder: (folder / name).write_bytes(b"[" * 100_000)
    yield "a folder", lambda folder: _make_folder(folder / name)
    for part in (0.1, 0.5, 0.95):
        yield f"cut at {part}", lambda folder, part=part: _cut(folder / name, part)


def _make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _cut(path: Path, part: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])


def _flip(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    for _ in range(8):
        content[rng.randrange(min(len(content), 2000))] = rng.randrange(256)
    path.write_bytes(content)


def _of_json(
    name: str, content: object, values: tuple[object, ...], deepest: int
) -> Iterator[tuple[str, Damage]]:
    """Replace each value in turn, at any depth, by values of other types, and remove each key."""
    for value in values:
        yield f"{name} is {value!r}", lambda folder, v=value: _write_json(folder / name, v)
    for keys in _keys(content, deepest):
        for value in values:
            yield (
                f"{name}: {keys} is {value!r}",
                lambda folder, keys=keys, value=value: _set(folder / name, keys, value),
            )
        yield f"{name}: no {keys}", lambda folder, keys=keys: _remove(folder / name, keys)


def _keys(
    content: object, deepest: int, above: tuple[str | int, ...] = ()
) -> Iterator[tuple[str | int, ...]]:
    if len(above) == deepest:
        return
    entries = content.items() if isinstance(content, dict) else ()
    if isinstance(content, list):
        entries = enumerate(content[:2])
    for key, value in entries:
        yield (*above, key)
        yield from _keys(value, deepest, (*above, key))


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content))


def _set(path: Path, keys: tuple[str | int, ...], value: object) -> None:
    content = json.loads(path.read_text())
    place = content
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    _write_json(path, content)


def _remove(path: Path, keys: tuple[str | int, ...]) -> None:
    content = json.loads(path.read_text())
    place = content
    for key in keys[:-1]:
        place = place[key]
    del place[keys[-1]]
    _write_json(path, content)


def _of_tensors(name: str) -> Iterator[tuple[str, Damage]]:
    """Change the first and the last tensor of a file, in every way."""
    for at in (0, -1):
        for kind, change in _CHANGES.items():
            yield (
                f"tensor {at} {kind}",
                lambda folder, at=at, change=change: _change(folder / name, at, change),
            )
    if name.endswith(".bin"):
        yield "a list", lambda folder: torch.save([torch.zeros(2)], folder / name)
        yield "numbered", lambda folder: torch.save({1: torch.zeros(2)}, folder / name)


_CHANGES: dict[str, Callable[[str, torch.Tensor], dict[str, torch.Tensor]]] = {
    "missing": lambda _name, _tensor: {},
    "renamed": lambda name, tensor: {f"{name}x": tensor},
    "added": lambda name, tensor: {name: tensor, "another": tensor.clone()},
    "flat": lambda name, tensor: {name: tensor.flatten()},
    "without rows": lambda name, tensor: {name: tensor[:0]},
    "wider": lambda name, tensor: {name: torch.cat([tensor, tensor])},
    "half": lambda name, tensor: {name: tensor.half()},
    "of 8 bits": lambda name, tensor: {name: tensor.to(torch.float8_e4m3fn)},
    "integers": lambda name, tensor: {name: tensor.to(torch.int64)},
    "complex": lambda name, tensor: {name: tensor.to(torch.complex64)},
    "booleans": lambda name, tensor: {name: tensor > 0},
    "NaN": lambda name, tensor: {name: torch.full_like(tensor, torch.nan)},
    "infinite": lambda name, tensor: {name: torch.full_like(tensor, torch.inf)},
}


def _change(
    path: Path, at: int, change: Callable[[str, torch.Tensor], dict[str, torch.Tensor]]
) -> None:
    is_safe = path.suffix == ".safetensors"
    tensors = load_file(path) if is_safe else torch.load(path, weights_only=True)
    name = list(tensors)[at]
    tensors |= change(name, tensors.pop(name))
    if is_safe:
        save_file(tensors, path, metadata={"format": "pt"})
    else:
        torch.save(tensors, path)
