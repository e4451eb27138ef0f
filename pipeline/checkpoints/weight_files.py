"""Files with a checkpoint's weights: which ones are read, and what their headers must say.

transformers reads ``model.safetensors``, else the shards that an index lists. It casts integers to
floating point, and of two tensors with one name it takes either: here both are refused.
"""

import re
from pathlib import Path

from pydantic import ConfigDict, TypeAdapter, with_config
from safetensors import safe_open
from typing_extensions import TypedDict  # pydantic wants this one before Python 3.12

from pipeline.checkpoints.tensors import first_of
from pipeline.errors import InputError, refusing
from pipeline.store.json_files import read_json

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
BUFFERS = re.compile(r"(^|\.)(position_ids|token_type_ids|inv_freq|masked_bias|attn\.bias)$")
"""Names of tensors that older versions saved and that every model computes by itself."""
_ADVICE = "Copy the model again, or give another."
_READ = ("F64", "F32", "F16", "BF16")


@with_config(ConfigDict(extra="allow"))
class _Index(TypedDict):
    """Part of the index of shards that is read."""

    weight_map: dict[str, str]


_INDEX = TypeAdapter(_Index)
TensorShapes = dict[str, tuple[int, ...]]
"""Shapes of tensors, by their names."""


def read_shapes(folder: Path) -> TensorShapes:
    """Return the shapes of a checkpoint's tensors, from its files' headers.

    Raises:
        InputError: when a file is missing or damaged, or a tensor is in two files, is not in its
            file, or holds no numbers in 16, 32 or 64 bits of floating point.
    """
    listed = _listed(folder)
    shapes: TensorShapes = {}
    problems: list[str] = []
    for path in weight_paths(folder):
        with (
            refusing(f"Cannot read the model in {folder}: {path.name} is damaged", _ADVICE),
            safe_open(path, framework="pt") as file,
        ):
            for name in sorted(file.keys()):
                part = file.get_slice(name)
                if name in shapes:
                    problems.append(f"{name} is in two files")
                if part.get_dtype() not in _READ and not BUFFERS.search(name):
                    problems.append(
                        f"{name} has the type {part.get_dtype()}, expected one of {_READ}"
                    )
                shapes[name] = tuple(part.get_shape())
                if listed.get(name, path.name) != path.name:
                    problems.append(f"{name} is in {path.name}, not in {listed[name]}")
    problems += [f"{name} is not in {listed[name]}" for name in sorted(listed.keys() - shapes)]
    if problems:
        raise InputError(
            f"The weights in {folder} are not whole, or quantised: {first_of(problems)}. {_ADVICE}"
        )
    return shapes


def weight_paths(folder: Path) -> list[Path]:
    """Return the files that hold a checkpoint's weights.

    Raises:
        InputError: when there are none, or one that the index lists is missing.
    """
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    names = sorted(set(_listed(folder).values()))
    missing = [name for name in names if not (folder / name).is_file()]
    if missing or not names:
        raise InputError(
            f"Cannot read the model in {folder}: it has no {', '.join(missing) or WEIGHTS}. "
            f"{_ADVICE}"
        )
    return [folder / name for name in names]


def _listed(folder: Path) -> dict[str, str]:
    """Return the file that each tensor is in by the index; empty where there is no index."""
    path = folder / INDEX
    if (folder / WEIGHTS).is_file() or not path.is_file():
        return {}
    listed = read_json(path, _INDEX, expected="an index of weights", advice=_ADVICE)["weight_map"]
    if outside := sorted({name for name in listed.values() if Path(name).name != name}):
        raise InputError(f"{path} lists files outside of its folder: {outside[0]}. {_ADVICE}")
    return listed
