"""Folders that hold an adapter: an AdapterHub checkpoint's, or a teacher's of an earlier run."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel

from models.adapters.hooks import add_adapter
from models.adapters.parameter_names import renamed_parameter
from models.adapters.site import AdapterSettings
from models.student import take_head
from pipeline.checkpoints.adapterhub.head import has_head, load_head, read_labels, tasks_of_head
from pipeline.checkpoints.adapterhub.reading import load_adapter, read_adapter, read_name
from pipeline.checkpoints.pretrained import Checkpoint, find_adapter_folder, find_architecture
from pipeline.checkpoints.teachers import (
    TEACHER_FACTS,
    TEACHER_TENSORS,
    TRAINED,
    adapters_of,
    check_backbone_of,
    read_teacher,
)
from pipeline.checkpoints.tensors import load_tensors
from pipeline.config import AdapterSource
from pipeline.errors import InputError, refusing
from pipeline.store.digests import sha256_file, sha256_json
from pipeline.tasks.all_tasks import find_task
from pipeline.tasks.task import Task


def holds_teacher(folder: Path) -> bool:
    """Return whether a folder is a teacher's, and not AdapterHub's."""
    return (folder / TEACHER_FACTS).is_file()


def name_adapters(folders: Sequence[Path], names: Sequence[str] | None = None) -> dict[str, Path]:
    """Return the folders of adapters, by the names that they have together.

    Args:
        folders: One an adapter.
        names: Of their user's choice; by default AdapterHub's own, and for several teachers that
            this project trained ``task1``, ``task2`` and so on, by their places.

    Raises:
        InputError: when a folder has no adapter, or two have one name, or a name cannot be one.
    """
    named: dict[str, Path] = {}
    for number, folder in enumerate(folders, start=1):
        name = names[number - 1] if names is not None else _own_name(folder)
        if names is None and name == TRAINED and holds_teacher(folder) and len(folders) > 1:
            name = f"{TRAINED}{number}"
        check_adapter_name(name)
        if name in named:
            raise InputError(
                f"{folder} and {named[name]} hold adapters of one name, {name!r}. Save one of "
                "them under another name, or name them: from = { first = ..., second = ... }."
            )
        named[name] = folder
    return named


def check_adapter_name(name: str) -> None:
    """Refuse what cannot be the name of an adapter, here or in AdapterHub's files."""
    if not name or set("/\\.,") & set(name):
        raise InputError(
            f"{name!r} cannot be the name of an adapter: expected one without dots, commas and "
            "slashes."
        )


def check_source(source: AdapterSource) -> None:
    """Refuse adapters that cannot be found, or named.

    Raises:
        InputError: saying which.
    """
    folders = [find_adapter_folder(reference) for reference in source.references]
    if len(folders) > 1:
        name_adapters(folders, source.names)
    if source.fusion is not None:
        find_adapter_folder(source.fusion)


def find_head(
    folders: Sequence[Path], labels: tuple[str, ...] | None, *, is_needed: bool = True
) -> Path | None:
    """Return the folder whose head is meant: the only one, or the only one with these labels.

    Raises:
        InputError: when there are several, or there is none and one is needed.
    """
    heads = [folder for folder in folders if _holds_head(folder)]
    if not heads and not is_needed:
        return None
    if len(heads) > 1 and labels is not None:
        heads = [folder for folder in heads if head_labels(folder) == labels]
    if len(heads) != 1:
        wanted = f" for the labels {list(labels)}" if labels is not None else ""
        advice = (
            "Give one that has its head."
            if not heads
            else "Give the others without their heads, or let a run train one head with "
            "together = 'fuse' or 'weigh'."
        )
        raise InputError(
            f"Expected one adapter that was saved with its classification head{wanted}, found "
            f"{len(heads)} among {', '.join(map(str, folders))}. {advice}"
        )
    return heads[0]


def find_teacher_of(labels: tuple[str, ...], folders: Sequence[Path]) -> Path | None:
    """Return the first folder with a teacher, and so a head, for these labels."""
    teachers = filter(holds_teacher, folders)
    return next((each for each in teachers if read_teacher(each).labels == labels), None)


def head_labels(folder: Path) -> tuple[str, ...]:
    """Return the labels of the head in a folder, in class order.

    Raises:
        InputError: when no task here answers with such a head.
    """
    head_tasks(folder)
    return read_teacher(folder).labels if holds_teacher(folder) else read_labels(folder)


def head_tasks(folder: Path) -> tuple[Task, ...]:
    """Return the tasks that the head in a folder answers, the likeliest first.

    Raises:
        InputError: when no task here answers with such a head.
    """
    if holds_teacher(folder):
        return (find_task(read_teacher(folder).task),)
    return tuple(map(find_task, tasks_of_head(folder)))


def attach_adapter(
    folder: Path, name: str, model: PreTrainedModel, checkpoint: Checkpoint
) -> AdapterSettings:
    """Attach the adapter in a folder to a model's backbone, in place; it is not active yet.

    Args:
        folder: AdapterHub's, or a teacher's with one adapter.
        name: The adapter's name from now on.
        model: A classifier on the backbone.
        checkpoint: That backbone.

    Raises:
        InputError: when the folder is not sound, or the adapter belongs to another backbone.
    """
    architecture = find_architecture(model)
    if not holds_teacher(folder):
        adapter = read_adapter(folder, model)
        load_adapter(adapter, model, architecture, name=name)
        return adapter.settings
    check_backbone_of(folder, read_teacher(folder), checkpoint)
    own, settings = _only_adapter(folder)
    with refusing(
        f"{folder / TEACHER_FACTS} describes an adapter that cannot be built",
        "Train it again, or copy its folder anew.",
    ):
        add_adapter(model.base_model, architecture, name, settings)
    found = _renamed(load_tensors(folder / TEACHER_TENSORS), own, name)
    expected = _renamed(dict(model.named_parameters()), name, name)
    shapes = [{key: tensor.shape for key, tensor in each.items()} for each in (found, expected)]
    if shapes[0] != shapes[1]:
        raise InputError(
            f"{folder / TEACHER_TENSORS} does not hold the adapter that {TEACHER_FACTS} beside it "
            "describes. Train it again."
        )
    with torch.no_grad():
        for key, parameter in expected.items():
            parameter.copy_(found[key])
    return settings


def attach_head(folder: Path, model: PreTrainedModel) -> None:
    """Set a model's head to the one in a folder, in place.

    Raises:
        InputError: when it does not fit.
    """
    if not holds_teacher(folder):
        load_head(folder, model)
    elif not take_head(model, load_tensors(folder / TEACHER_TENSORS)):
        raise InputError(f"The shape of the teacher's head in {folder} differs from the model's.")


def adapters_digest(source: AdapterSource) -> str:
    """Return a digest of all files of a source's adapters, which changes when one of them does."""
    references = [*source.references, *([source.fusion] if source.fusion else [])]
    folders = map(find_adapter_folder, references)
    return sha256_json([source.names, *map(_files_digests, folders)])


def _own_name(folder: Path) -> str:
    return _only_adapter(folder)[0] if holds_teacher(folder) else read_name(folder)


def _holds_head(folder: Path) -> bool:
    return holds_teacher(folder) or has_head(folder)


def _only_adapter(folder: Path) -> tuple[str, AdapterSettings]:
    """Return name and settings of a teacher's one adapter."""
    adapter = read_teacher(folder).adapter
    names = [] if adapter is None else list(adapters_of(adapter).adapters)
    if adapter is None or len(names) != 1:
        raise InputError(
            f"The teacher in {folder} has {len(names)} adapters ({', '.join(names) or 'none'}), "
            "and one is expected here. Give the folder of each adapter."
        )
    return names[0], adapters_of(adapter).adapters[names[0]]


def _renamed(tensors: dict[str, Tensor], own: str, name: str) -> dict[str, Tensor]:
    """Return the tensors of one adapter, by the names that they have under another name of it."""
    renamed = {key: renamed_parameter(key, own, name) for key in tensors}
    return {new: tensors[key] for key, new in renamed.items() if new is not None}


def _files_digests(folder: Path) -> dict[str, str]:
    """Return the sha256 of every file that an adapter is made of, by its path in the folder."""
    if holds_teacher(folder):
        files = [folder / TEACHER_FACTS, folder / TEACHER_TENSORS]
    else:
        kinds = (".json", ".bin", ".safetensors")
        files = [path for path in sorted(folder.rglob("*")) if path.suffix in kinds]
    return {str(path.relative_to(folder)): sha256_file(path) for path in files if path.is_file()}
