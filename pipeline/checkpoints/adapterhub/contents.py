"""The files of an AdapterHub folder: read without executing anything, and checked."""

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import TypeAdapter
from torch import Tensor
from transformers import PreTrainedModel

from pipeline.checkpoints import tensors
from pipeline.checkpoints.tensors import Shaped, load_tensors
from pipeline.errors import InputError
from pipeline.store.json_files import read_json

Content = TypeVar("Content")
Kind = Literal["adapter", "fusion", "head"]
"""Contents of a file of tensors."""

logger = logging.getLogger(__name__)

_OWNERS: dict[Kind, re.Pattern[str]] = {
    "adapter": re.compile(
        r"\.(?:adapters\.(?P<site>[^.]+)\."
        r"(?:adapter_(?:down\.\d|up|norm_before|norm_after)\.\w+|scaling|gate\.\w+)"
        r"|invertible_adapters\.(?P<embedded>[^.]+)\.[FG]\.\d\.\w+"
        r"|shared_parameters\.(?P<shared>[^.]+)\.\w+)$"
    ),
    "fusion": re.compile(
        r"\.adapter_fusion_layer\.(?P<site>[^.]+)\.(?:query|key|value)\.(?:weight|bias)$"
    ),
    "head": re.compile(r"^heads\.(?P<site>[^.]+)\.[\w.]+$"),
}
"""Names of tensors, with that of the adapter, fusion or head that each belongs to."""


def check_backbone(folder: Path, meta: Mapping[str, Any], model: PreTrainedModel) -> None:
    """Refuse a checkpoint that says that it belongs to another backbone."""
    own = {"model_type": model.config.model_type, "hidden_size": model.config.hidden_size}
    wrong = [
        f"{key} {meta[key]!r}, the backbone's is {value!r}"
        for key, value in own.items()
        if meta.get(key) not in (None, value)
    ]
    if wrong:
        raise InputError(
            f"{folder} belongs to another backbone: it says {'; '.join(wrong)}. Give the backbone "
            f"that it was trained in ({meta.get('model_name', 'its config does not say which')})."
        )


def read_tensors(folder: Path, names: tuple[str, ...]) -> dict[str, Tensor]:
    """Return the tensors in the first of these files that there is; nothing in it is executed."""
    path = next((folder / name for name in names if (folder / name).is_file()), None)
    if path is None:
        raise InputError(f"{folder} has no tensors: expected {' or '.join(names)}.")
    return load_tensors(path)


def without_strangers(
    folder: Path, tensors: Mapping[str, Tensor], kind: Kind, name: str
) -> dict[str, Tensor]:
    """Return a file's tensors but those of other adapters, fusions or heads, which are logged.

    The library (1.3.0) saves what begins with a name: a head file of ``sst`` holds ``sst2``, too.

    Args:
        folder: Where they were read.
        tensors: By the names that the library writes now.
        kind: What the file is saved of.
        name: The one that is wanted.
    """
    owners = {key: _owner(key, kind) for key in tensors}
    strangers = sorted({owner for owner in owners.values() if owner is not None} - {name})
    if strangers:
        logger.warning(
            "%s: ignored the tensors of %s, which are in the file of the %s %s as well.",
            folder,
            " and ".join(strangers),
            kind,
            name,
        )
    return {key: tensor for key, tensor in tensors.items() if owners[key] in (None, name)}


def _owner(key: str, kind: Kind) -> str | None:
    """Return the name of what a tensor belongs to; None where its own name does not say."""
    found = _OWNERS[kind].search(key)
    return next((owner for owner in found.groups() if owner), None) if found else None


def check_hub_tensors(
    folder: Path, found: Mapping[str, Tensor], expected: Mapping[str, Shaped]
) -> None:
    """Refuse tensors that are not exactly those of an adapter, a fusion or a head."""
    advice = "Save the adapter again, or check the backbone."
    tensors.check_tensors(folder, found, expected, advice=advice)


def read_config(path: Path, content: TypeAdapter[Content]) -> Content:
    """Return what a JSON file of a checkpoint says.

    Raises:
        InputError: when it is missing, is not JSON, or has keys of other types.
    """
    if not path.is_file():
        raise InputError(
            f"{path.parent} is not an AdapterHub checkpoint: it has no {path.name}. Give the "
            "folder that the adapters library wrote."
        )
    advice = "Save the adapter again."
    return read_json(path, content, expected=f"AdapterHub's {path.name}", advice=advice)
