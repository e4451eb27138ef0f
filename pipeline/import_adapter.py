"""A teacher of adapters that there are already: folders of adapters in, a teacher out."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from transformers import PreTrainedModel

from models.adapters import set_active
from models.composition import Average, Composition, Stack
from models.objective import SINGLE_LABEL as OBJECTIVE
from models.objective import Objective
from pipeline.adapter_folders import (
    find_head,
    hang_adapter,
    hang_head,
    head_labels,
    name_adapters,
)
from pipeline.adapterhub.reading import (
    FUSION_CONFIG,
    load_fusion,
    read_fusion,
    read_fusion_settings,
)
from pipeline.adapterhub.setup import SETUP, HubSetup, read_setup
from pipeline.checkpoints import (
    Checkpoint,
    find_architecture,
    find_checkpoint,
    load_classifier,
    load_tokenizer,
    longest_input,
)
from pipeline.config import ModelConfig
from pipeline.errors import InputError
from pipeline.teachers import (
    ImportedAdapters,
    TeacherDescription,
    drop_lower_adapters,
    read_teacher,
    save_teacher,
)

Together = Literal["stack", "average"]


def import_adapter(
    folders: Sequence[Path],
    out: Path,
    *,
    backbone: str,
    fusion: Path | None = None,
    together: Together | None = None,
    drop_layers: int = 0,
    max_length: int | None = None,
) -> TeacherDescription:
    """Write a teacher to the new folder ``out``, whole or not at all.

    Args:
        folders: As `find_setup` takes them.
        backbone: Hub id, path or package reference of the model that they were trained in.
        fusion: Folder of the AdapterFusion over them.
        together: How several adapters work together without one.
        drop_layers: The adapters of the first so many layers are left out.
        max_length: Longest input of the teacher, in tokens; None takes 128, or what the backbone
            takes if that is less.

    Raises:
        InputError: when ``out`` exists, or whatever `find_setup` and `hang_setup` refuse.
    """
    if out.exists():
        raise InputError(f"{out} exists already. Give the path of a new folder.")
    setup = find_setup(folders, fusion=fusion, together=together)
    labels = head_labels(setup.head)
    checkpoint = find_checkpoint(ModelConfig(model=backbone))
    longest = max_length or min(128, longest_input(checkpoint))
    load_tokenizer(checkpoint, max_length=longest)  # refuses more than the backbone takes
    model, adapters = hang_setup(setup, checkpoint, OBJECTIVE, labels=labels)
    adapters = drop_lower_adapters(model, adapters, drop_layers)
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    partial.mkdir(parents=True)
    try:
        save_teacher(
            model,
            partial,
            checkpoint=checkpoint,
            labels=labels,
            adapter=adapters,
            max_length=longest,
        )
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return read_teacher(out)


def find_setup(
    folders: Sequence[Path],
    *,
    names: Sequence[str] | None = None,
    fusion: Path | None = None,
    together: Together | None = None,
    labels: tuple[str, ...] | None = None,
) -> HubSetup:
    """Return which adapters there are, how they work together, and where their head is.

    Args:
        folders: One an adapter: as the ``adapters`` library saves them, or a teacher's. One of
            them has the head. Or a single folder with ``adapter_setup.json``.
        names: The adapters' names; their own by default.
        fusion: Folder of the AdapterFusion over them.
        together: How several adapters work together without one.
        labels: Those of the head that is meant, where several have one.

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
        return read_setup(folders[0])
    if len(folders) > 1 and (fusion is None) == (together is None):
        raise InputError(
            f"{len(folders)} adapters: say how they work together, with either a folder with "
            f"{FUSION_CONFIG} (--fusion) or one of stack and average (--together)."
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
        head=find_head(folders, labels),
    )


def hang_setup(
    setup: HubSetup, checkpoint: Checkpoint, objective: Objective, *, labels: tuple[str, ...]
) -> tuple[PreTrainedModel, ImportedAdapters]:
    """Return a classifier of these labels with a setup's adapters, active, and its head.

    Raises:
        InputError: when a folder is no sound bottleneck adapter, fusion or head of this backbone,
            or the adapters do not go together.
    """
    model = load_classifier(checkpoint, objective, labels=labels, seed=0)
    architecture = find_architecture(model)
    adapters = {
        name: hang_adapter(folder, name, model, checkpoint)
        for name, folder in setup.adapters.items()
    }
    hang_head(setup.head, model)
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
        raise InputError(f"These adapters do not go together: {error}.") from error
    return model, ImportedAdapters(
        adapters=adapters,
        active=setup.composition,
        fusion=next(iter(fusions), None),
    )
