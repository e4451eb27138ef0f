"""A teacher of ours, written as the AdapterHub folders that the ``adapters`` library reads."""

import os
import shutil
from pathlib import Path

from models.adapters.composition import (
    Composition,
    Fuse,
    FusionSettings,
    module_name,
    names_in,
    parts_of,
)
from pipeline.checkpoints.adapter_folders import check_adapter_name
from pipeline.checkpoints.adapterhub.setup import SETUP, setup_tree
from pipeline.checkpoints.adapterhub.writing import (
    VERSION,
    write_adapter,
    write_fusion,
    write_head,
    write_json,
)
from pipeline.checkpoints.pretrained import find_architecture
from pipeline.checkpoints.teachers import adapters_of, load_backed_teacher
from pipeline.errors import InputError


def export_adapter(
    teacher: Path, out: Path, *, backbone: str | None = None, name: str | None = None
) -> Composition:
    """Write a teacher's adapters and head to the new folder ``out``, whole or not at all.

    One adapter's files are in ``out`` itself. Of several, each has a sub-folder, AdapterFusions
    too, and ``adapter_setup.json`` says how they work together; the head is with the last adapter.

    Args:
        teacher: Folder of a finetune stage, or of `import_adapter`.
        backbone: The teacher's backbone; None takes the one that the teacher names.
        name: Of the one adapter that the teacher has; its own by default.

    Returns:
        The composition of what was written.

    Raises:
        InputError: when ``out`` exists, the teacher has no adapters or another backbone, the
            format cannot express them, or a name is given to several or cannot be one.
    """
    if out.exists():
        raise InputError(f"{out} exists already. Give the path of a new folder.")
    description, checkpoint, model = load_backed_teacher(teacher, backbone=backbone)
    if description.adapter is None:
        raise InputError(f"The teacher in {teacher} has no adapters: there is nothing to write.")
    imported = adapters_of(description.adapter)
    tree = None if isinstance(imported.active, str) else setup_tree(imported.active)
    architecture = find_architecture(model)
    # Of a folder, its name: where it lies here means nothing elsewhere.
    local = Path(checkpoint.reference).is_absolute()
    model_name = Path(checkpoint.reference).name if local else checkpoint.reference
    names = list(names_in(imported.active))
    if name is not None:
        _check_name(name, names, teacher)
    hub_names = {own: name or own for own in names}
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    partial.mkdir(parents=True)
    try:
        for own, hub_name in hub_names.items():
            write_adapter(
                partial if tree is None else partial / own,
                model,
                architecture,
                own,
                imported.adapters[own],
                model_name=model_name,
                hub_name=hub_name,
            )
        for part in parts_of(imported.active):
            if isinstance(part, Fuse):
                write_fusion(
                    partial / module_name(part),
                    model,
                    architecture,
                    part,
                    imported.fusion or FusionSettings(),
                    model_name=model_name,
                )
        head = partial if tree is None else partial / names[-1]
        last = hub_names[names[-1]]
        write_head(head, model, last, description.labels, model_name=model_name)
        if tree is not None:
            setup = {"adapter_setup": tree, "head_setup": names[-1], "version": VERSION}
            write_json(partial / SETUP, setup)
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return imported.active


def _check_name(name: str, adapters: list[str], teacher: Path) -> None:
    if len(adapters) > 1:
        raise InputError(
            f"The teacher in {teacher} has the adapters {', '.join(adapters)}: --name {name} can "
            "name only one. Leave it out."
        )
    check_adapter_name(name)
