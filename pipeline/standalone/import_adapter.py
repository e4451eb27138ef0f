"""A teacher of adapters that there are already: folders of adapters in, a teacher out."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.checkpoints.adapter_folders import head_labels, head_tasks
from pipeline.checkpoints.adapter_setup import Together, attach_setup, find_setup
from pipeline.checkpoints.compute import find_compute
from pipeline.checkpoints.context import ModelContext
from pipeline.checkpoints.pretrained import find_adapter_folder, find_checkpoint
from pipeline.checkpoints.teachers import (
    TeacherDescription,
    drop_lower_adapters,
    read_teacher,
    save_teacher,
)
from pipeline.checkpoints.tokenizers import load_tokenizer, longest_input
from pipeline.config import ModelConfig
from pipeline.store.files import new_folder


def import_adapter(
    folders: Sequence[Path | str],
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
        folders: As `find_setup` takes them, or their hub ids.
        backbone: Hub id, path or package reference of the model that they were trained in.
        fusion: Folder of the AdapterFusion over them.
        together: How several adapters work together without one.
        drop_layers: The adapters of the first so many layers are left out.
        max_length: Longest input of the teacher, in tokens; None takes 128, or what the backbone
            takes if that is less.

    Raises:
        InputError: when ``out`` exists, or whatever `find_setup` and `attach_setup` refuse.
    """
    with new_folder(out) as partial:
        setup = find_setup(
            [find_adapter_folder(str(each)) for each in folders], fusion=fusion, together=together
        )
        if setup.head is None:
            raise TypeError("a setup that needs a head has none")
        labels, task = head_labels(setup.head), head_tasks(setup.head)[0]
        checkpoint = find_checkpoint(ModelConfig(model=backbone))
        longest = max_length or min(128, longest_input(checkpoint))
        load_tokenizer(checkpoint, max_length=longest)  # refuses more than the backbone takes
        model, adapters = attach_setup(setup, checkpoint, task.objective(), labels=labels)
        adapters = drop_lower_adapters(model, adapters, drop_layers)
        context = ModelContext(
            backbone=checkpoint,
            task=task,
            max_length=longest,
            seed=0,
            compute=find_compute(),
        )
        save_teacher(
            model,
            partial,
            context=context,
            labels=labels,
            adapter=adapters,
        )
    return read_teacher(out)
