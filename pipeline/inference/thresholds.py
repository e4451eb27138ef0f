"""Thresholds that a bundle's outputs are read by, in ``thresholds.json`` by their labels."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field, TypeAdapter

from pipeline.errors import InputError
from pipeline.store.files import write_atomic
from pipeline.store.json_files import read_json

THRESHOLDS = "thresholds.json"
_CONTENT = TypeAdapter(dict[str, Annotated[float, Field(ge=0, le=1)]])


def write_thresholds(bundle: Path, names: Sequence[str], thresholds: np.ndarray) -> None:
    """Write the threshold of each output, by its name."""
    content = dict(zip(names, map(float, thresholds), strict=True))
    write_atomic(bundle / THRESHOLDS, json.dumps(content, indent=2, ensure_ascii=False))


def read_thresholds(bundle: Path, names: Sequence[str]) -> np.ndarray | None:
    """Return the thresholds of a bundle's outputs, (C,); None where it has no such file.

    Raises:
        InputError: when the file is damaged, or does not name the model's labels.
    """
    path = bundle / THRESHOLDS
    if not path.is_file():
        return None
    advice = "Export the bundle again, or copy it anew."
    found = read_json(path, _CONTENT, expected="a threshold for each label", advice=advice)
    if set(found) != set(names):
        raise InputError(
            f"{path} has thresholds for {sorted(found)}, and the model's labels are "
            f"{sorted(names)}. {advice}"
        )
    return np.array([found[name] for name in names])
