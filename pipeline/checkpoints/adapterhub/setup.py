"""``adapter_setup.json``: how the adapters in a folder's sub-folders work together.

The library's tree has a node a composition: Stack, Fuse and Average are supported. Names in it
become names of folders, so what is no plain name is refused.
"""

from dataclasses import dataclass
from math import isclose, isfinite
from pathlib import Path
from typing import Any

from models.adapters.composition import (
    Average,
    Composition,
    Fuse,
    Stack,
    module_name,
    names_in,
    parts_of,
)
from pipeline.checkpoints.adapterhub.contents import read_config
from pipeline.checkpoints.adapterhub.head import has_head
from pipeline.checkpoints.adapterhub.schema import SETUP_FILE
from pipeline.errors import InputError

SETUP = "adapter_setup.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class HubSetup:
    """Folders of adapters, and how they work together."""

    composition: Composition
    """Composition, in the adapters' own names."""
    adapters: dict[str, Path]
    """By name."""
    fusions: tuple[Path, ...]
    """Folders of the AdapterFusions in the composition."""
    head: Path | None
    """The folder with the head; None where the adapters were saved without one."""


def read_setup(folder: Path, *, needs_head: bool = True) -> HubSetup:
    """Return the setup in a folder that the library's ``save_adapter_setup`` wrote.

    Args:
        folder: Of the setup; adapters and fusions are its sub-folders.
        needs_head: Whether one without a head is refused.

    Raises:
        InputError: when it is damaged, or a composition or the head is not supported.
    """
    meta = read_config(folder / SETUP, SETUP_FILE)
    composition = _composition(folder, meta["adapter_setup"])
    adapters = {name: folder / _plain(folder, name) for name in names_in(composition)}
    fusions = [part for part in parts_of(composition) if isinstance(part, Fuse)]
    return HubSetup(
        composition=composition,
        adapters=adapters,
        fusions=tuple(folder / module_name(fusion) for fusion in fusions),
        head=_head(folder, meta.get("head_setup"), list(adapters.values()), needs_head),
    )


def setup_tree(composition: Composition) -> dict[str, Any]:
    """Return the library's tree of a composition.

    Raises:
        InputError: when the library has no such composition.
    """
    if isinstance(composition, str):
        return {"type": "single", "children": [composition]}
    allowed: dict[type[Any], tuple[type[Any], ...]] = {
        Stack: (str, Fuse, Average),
        Fuse: (str,),
        Average: (str, Stack),
    }
    kind = type(composition).__name__
    wrong = [
        c for c in composition.children if not isinstance(c, allowed.get(type(composition), ()))
    ]
    if wrong:
        raise InputError(
            f"AdapterHub's format has no {kind.lower()} of "
            f"{', '.join(type(child).__name__.lower() for child in wrong)}. It has stacks of "
            "adapters, fusions and averages; averages of adapters and stacks; fusions of adapters."
        )
    tree: dict[str, Any] = {
        "type": kind,
        "children": [setup_tree(child) for child in composition.children],
    }
    if isinstance(composition, Average):
        equal = (1 / len(composition.children),) * len(composition.children)
        tree["kwargs"] = {"weights": list(composition.weights or equal)}
    return tree


def _composition(folder: Path, tree: Any) -> Composition:
    kind = tree.get("type") if isinstance(tree, dict) else None
    children = tree.get("children") if isinstance(tree, dict) else None
    if not isinstance(children, list) or not children:
        raise InputError(f"{folder / SETUP}: expected a type and children, found {tree!r}.")
    if kind == "single":
        return _plain(folder, children[0])
    parts = tuple(_composition(folder, child) for child in children)
    if kind == "Stack":
        return parts[0] if len(parts) == 1 else Stack(parts)
    if kind == "Average":
        return Average(parts, _weights(folder, tree.get("kwargs"), len(parts)))
    names = tuple(part for part in parts if isinstance(part, str))
    if kind == "Fuse" and len(names) == len(parts):
        return Fuse(names)
    raise InputError(
        f"{folder / SETUP}: a composition of the type {kind!r} with "
        f"{'adapters' if len(names) == len(parts) else 'compositions'} in it is not "
        "supported. Supported are Stack, Average, and Fuse of adapters."
    )


def _weights(folder: Path, given: Any, children: int) -> tuple[float, ...]:
    """Return an average's weights; none for equal ones.

    They are divided by their sum, as the library does when it loads them, unless the file says
    ``normalize_weights = false``.
    """
    options = given if isinstance(given, dict) else {"weights": given}
    found, normalise = options.get("weights"), options.get("normalize_weights") is not False
    if not found:
        return ()
    if isinstance(found, list) and len(found) == children:
        weights = tuple(float(each) for each in found if isinstance(each, int | float))
        total = sum(weights)
        if len(weights) == children and isfinite(total) and total != 0:
            as_they_are = isclose(total, 1.0) or not normalise
            return weights if as_they_are else tuple(each / total for each in weights)
    raise InputError(
        f"{folder / SETUP}: expected {children} weights for an average of {children}, with a sum "
        f"that is not 0, found {found!r}. Save the setup again."
    )


def _head(folder: Path, given: Any, adapters: list[Path], needs_head: bool) -> Path | None:
    if given is True:
        return folder
    if isinstance(given, str):
        return folder / _plain(folder, given)
    heads = [each for each in adapters if has_head(each)]
    if not (given or heads or needs_head):
        return None
    if given or len(heads) != 1:
        raise InputError(
            f"{folder}: expected one classification head, found "
            f"{f'the head setup {given!r}' if given else len(heads)}. Save the setup with one head."
        )
    return heads[0]


def _plain(folder: Path, name: Any) -> str:
    """Return a name that stays inside the folder it is joined to."""
    if not isinstance(name, str) or not name or set("/\\.") & set(name):
        raise InputError(f"{folder / SETUP}: expected the name of an adapter, found {name!r}.")
    return name
