"""A teacher from adapters that were trained elsewhere: AdapterHub folders in, a teacher out."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from models.adapters import set_active
from models.composition import Average, Composition, Stack
from models.objective import SINGLE_LABEL as OBJECTIVE
from pipeline.adapterhub import (
    FUSION_CONFIG,
    HubAdapter,
    load_adapter,
    load_fusion,
    read_adapter,
    read_fusion_settings,
)
from pipeline.adapterhub_head import has_head, load_head, read_labels
from pipeline.checkpoints import (
    ImportedAdapters,
    TeacherDescription,
    find_architecture,
    find_checkpoint,
    load_classifier,
    load_tokenizer,
    longest_input,
    read_teacher,
    save_teacher,
)
from pipeline.config import ModelConfig
from pipeline.errors import InputError

Together = Literal["stack", "average"]


def import_adapter(
    folders: Sequence[Path],
    out: Path,
    *,
    backbone: str,
    fusion: Path | None = None,
    together: Together | None = None,
    max_length: int | None = None,
) -> TeacherDescription:
    """Write a teacher to the new folder ``out``, whole or not at all.

    Args:
        folders: One an adapter, as the ``adapters`` library saves them. One of them has the head.
        backbone: Hub id, path or package reference of the model that they were trained in.
        fusion: Folder of the AdapterFusion over them.
        together: How several adapters work together without one.
        max_length: Longest input of the teacher, in tokens; None takes 128, or what the backbone
            takes if that is less.

    Raises:
        InputError: when ``out`` exists, a folder is no sound bottleneck adapter of this backbone,
            none or several have a head, or it is not said how several work together.
    """
    if out.exists():
        raise InputError(f"{out} exists already. Give the path of a new folder.")
    if len(folders) > 1 and (fusion is None) == (together is None):
        raise InputError(
            f"{len(folders)} adapters: say how they work together, with either a folder with "
            f"{FUSION_CONFIG} (--fusion) or one of stack and average (--together)."
        )
    heads = [folder for folder in folders if has_head(folder)]
    if len(heads) != 1:
        raise InputError(
            f"Expected one adapter that was saved with its classification head, found "
            f"{len(heads)} among {', '.join(map(str, folders))}. Save one with its head."
        )
    checkpoint = find_checkpoint(ModelConfig(model=backbone))
    labels = read_labels(heads[0])
    if len(labels) < 2:
        raise InputError(
            f"The head in {heads[0]} has {len(labels)} named labels, and classifiers of two or "
            "more are supported."
        )
    longest = max_length or min(128, longest_input(checkpoint))
    load_tokenizer(checkpoint, max_length=longest)  # refuses more than the backbone takes
    model = load_classifier(checkpoint, OBJECTIVE, labels=labels, seed=0)
    architecture = find_architecture(model)
    adapters: dict[str, HubAdapter] = {}
    for folder in folders:
        adapter = read_adapter(folder, model)
        if adapter.name in adapters:
            raise InputError(
                f"{folder} and {adapters[adapter.name].folder} hold adapters of one name, "
                f"{adapter.name!r}. Save one of them under another name."
            )
        load_adapter(adapter, model, architecture, name=adapter.name)
        adapters[adapter.name] = adapter
    load_head(heads[0], model)
    active: Composition
    if fusion is not None:
        active = load_fusion(fusion, model, architecture)
    elif together is not None and len(adapters) > 1:
        active = Stack(tuple(adapters)) if together == "stack" else Average(tuple(adapters))
    else:
        active = next(iter(adapters))
    try:
        set_active(model.base_model, active)
    except ValueError as error:
        raise InputError(f"These adapters do not go together: {error}.") from error
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    partial.mkdir(parents=True)
    try:
        save_teacher(
            model,
            partial,
            checkpoint=checkpoint,
            labels=labels,
            adapter=ImportedAdapters(
                adapters={name: adapter.settings for name, adapter in adapters.items()},
                active=active,
                fusion=None if fusion is None else read_fusion_settings(fusion),
            ),
            max_length=longest,
        )
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return read_teacher(out)
