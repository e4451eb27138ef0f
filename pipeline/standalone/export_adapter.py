"""A teacher of ours, written as the AdapterHub folders that the ``adapters`` library reads."""

from collections.abc import Mapping
from pathlib import Path

from transformers import PreTrainedModel

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
from pipeline.checkpoints.teachers import AdapterSet, adapters_of, load_backed_teacher
from pipeline.errors import InputError
from pipeline.store.files import new_folder
from pipeline.tasks.all_tasks import find_task


def export_adapter(
    teacher: Path, out: Path, *, backbone: str | None = None, name: str | None = None
) -> Composition:
    """Write a teacher's adapters and head to the new folder ``out``, whole or not at all.

    A single adapter's files are in ``out`` itself. Each of several adapters has a sub-folder, and
    so has each AdapterFusion. ``adapter_setup.json`` holds their composition, and the head is with
    the last adapter.

    Args:
        teacher: Folder of a finetune stage, or of `import_adapter`.
        backbone: The teacher's backbone; None takes the one that the teacher names.
        name: New name of a teacher's only adapter; its own by default.

    Returns:
        The composition of what was written.

    Raises:
        InputError: when ``out`` exists, the teacher has no adapters or another backbone, the
            format cannot express them, or a name is given to several or cannot be one.
    """
    with new_folder(out) as partial:
        description, checkpoint, model = load_backed_teacher(teacher, backbone=backbone)
        if description.adapter is None:
            raise InputError(
                f"The teacher in {teacher} has no adapters: there is nothing to write."
            )
        imported = adapters_of(description.adapter)
        names = list(names_in(imported.active))
        if name is not None:
            _check_name(name, names, teacher)
        # Of a folder, its name: where it lies here means nothing elsewhere.
        local = Path(checkpoint.reference).is_absolute()
        model_name = Path(checkpoint.reference).name if local else checkpoint.reference
        hub_names = {own: name or own for own in names}
        task = find_task(description.task)
        head = _write_adapters(
            partial, model, imported, hub_names, model_name, has_head=not task.continues
        )
        if task.continues:  # its head belongs to the backbone
            return imported.active
        if task.hub_head is None:
            raise InputError(f"AdapterHub's format has no head for {task.name}.")
        write_head(
            head,
            model,
            hub_names[names[-1]],
            description.labels,
            model_name=model_name,
            head_type=task.hub_head,
        )
    return imported.active


def _write_adapters(
    out: Path,
    model: PreTrainedModel,
    imported: AdapterSet,
    hub_names: Mapping[str, str],
    model_name: str,
    *,
    has_head: bool,
) -> Path:
    """Write adapters, AdapterFusions and, of several adapters, their setup.

    Returns:
        The folder that the head belongs to.
    """
    architecture = find_architecture(model)
    is_single = isinstance(imported.active, str)
    tree = setup_tree(imported.active)
    for own, hub_name in hub_names.items():
        write_adapter(
            out if is_single else out / own,
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
                out / module_name(part),
                model,
                architecture,
                part,
                imported.fusion or FusionSettings(),
                model_name=model_name,
            )
    if is_single:
        return out
    last = list(hub_names)[-1]
    setup = {"adapter_setup": tree, "head_setup": last if has_head else None}
    write_json(out / SETUP, setup | {"version": VERSION})
    return out / last


def _check_name(name: str, adapters: list[str], teacher: Path) -> None:
    if len(adapters) > 1:
        raise InputError(
            f"The teacher in {teacher} has the adapters {', '.join(adapters)}: --name {name} can "
            "name only one. Leave it out."
        )
    check_adapter_name(name)
