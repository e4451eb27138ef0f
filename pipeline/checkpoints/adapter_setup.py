"""Adapters in a folder, found and attached as they were used together."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from transformers import PreTrainedModel

from models.adapters.composition import Average, Composition, Stack
from models.adapters.hooks import set_active
from models.losses import Objective
from pipeline.checkpoints.adapter_folders import (
    attach_adapter,
    attach_head,
    find_head,
    name_adapters,
)
from pipeline.checkpoints.adapterhub.reading import (
    FUSION_CONFIG,
    load_fusion,
    read_fusion,
    read_fusion_settings,
)
from pipeline.checkpoints.adapterhub.setup import SETUP, HubSetup, read_setup
from pipeline.checkpoints.pretrained import Checkpoint, find_architecture
from pipeline.checkpoints.teachers import AdapterSet
from pipeline.checkpoints.weights import load_model
from pipeline.errors import InputError

Together = Literal["stack", "average"]


def find_setup(
    folders: Sequence[Path],
    *,
    names: Sequence[str] | None = None,
    fusion: Path | None = None,
    together: Together | None = None,
    labels: tuple[str, ...] | None = None,
    needs_head: bool = True,
) -> HubSetup:
    """Return which adapters there are, how they work together, and where their head is.

    Args:
        folders: One an adapter: as the ``adapters`` library saves them, or a teacher's. One of
            them has the head. Or a single folder with ``adapter_setup.json``.
        names: The adapters' names; their own by default.
        fusion: Folder of the AdapterFusion over them.
        together: How several adapters work together without one.
        labels: Those of the head that is meant, where several have one.
        needs_head: Whether adapters without a head are refused.

    Raises:
        InputError: when there is no head or several, two adapters have one name, or it is not said
            how several work together.
    """
    if len(folders) == 1 and (folders[0] / SETUP).is_file():
        if fusion is not None or together is not None:
            raise InputError(
                f"{folders[0] / SETUP} says how its adapters work together: leave out --fusion and "
                "--together."
            )
        return read_setup(folders[0], needs_head=needs_head)
    if len(folders) > 1 and (fusion is None) == (together is None):
        raise InputError(
            f"{len(folders)} adapters need a composition. Give either a folder with "
            f"{FUSION_CONFIG} (--fusion), or one of stack and average (--together)."
        )
    adapters = name_adapters(folders, names)
    composition: Composition = next(iter(adapters))
    if fusion is None and len(adapters) > 1:
        kind = Stack if together == "stack" else Average
        composition = kind(tuple(adapters))
    elif fusion is not None:
        composition = read_fusion(fusion)
    return HubSetup(
        composition=composition,
        adapters=adapters,
        fusions=() if fusion is None else (fusion,),
        head=find_head(folders, labels, is_needed=needs_head),
    )


def attach_setup(
    setup: HubSetup, checkpoint: Checkpoint, objective: Objective, *, labels: tuple[str, ...]
) -> tuple[PreTrainedModel, AdapterSet]:
    """Return a model of these labels with a setup's adapters, active, and its head.

    A language model keeps its own.

    Raises:
        InputError: when a folder is no sound bottleneck adapter, fusion or head of this backbone,
            or the adapters do not go together.
    """
    model = load_model(checkpoint, objective, labels=labels, seed=0)
    architecture = find_architecture(model)
    adapters = {
        name: attach_adapter(folder, name, model, checkpoint)
        for name, folder in setup.adapters.items()
    }
    if setup.head is not None:
        attach_head(setup.head, model)
    fusions = {read_fusion_settings(folder) for folder in setup.fusions}
    if len(fusions) > 1:
        raise InputError(
            f"The AdapterFusions in {', '.join(map(str, setup.fusions))} have different settings; "
            "those of one composition must agree."
        )
    for folder in setup.fusions:
        load_fusion(folder, model, architecture)
    try:
        set_active(model.base_model, setup.composition)
    except ValueError as error:
        places = ", ".join(map(str, (*setup.adapters.values(), *setup.fusions)))
        raise InputError(
            f"The adapters in {places} do not go together: {error}. Save them again together."
        ) from error
    return model, AdapterSet(
        adapters=adapters,
        active=setup.composition,
        fusion=next(iter(fusions), None),
    )
