"""Export without the chain: a teacher's or a student's folder in, a bundle out."""

from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipeline.checkpoints.adapter_folders import holds_teacher
from pipeline.checkpoints.pretrained import find_checkpoint, read_model_config
from pipeline.checkpoints.teachers import load_backed_teacher
from pipeline.checkpoints.tokenizers import load_tokenizer, longest_input, save_tokenizer
from pipeline.checkpoints.weights import load_model
from pipeline.config import ExportConfig, ModelConfig
from pipeline.errors import InputError
from pipeline.facts.arms import Arm
from pipeline.facts.export import Parity
from pipeline.graphs.trace import Traced, write_graph
from pipeline.inference.classifier import MODEL
from pipeline.release.bundle import seal_bundle
from pipeline.store.files import new_folder
from pipeline.tasks.all_tasks import TASK_KEY, find_task, task_of_model
from pipeline.tasks.task import Task


@dataclass(frozen=True, kw_only=True, slots=True)
class _Exported:
    """A model on its way into a bundle."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    task: Task
    with_weights: bool
    """Whether its weights go into the bundle, beside the graph."""


def export_alone(
    model: Path, out: Path, config: ExportConfig, *, backbone: str | None = None
) -> tuple[Parity, ...]:
    """Write a sealed bundle to the new folder ``out``, whole or not at all.

    A student's bundle holds its transformers weights too. A teacher's holds its graph alone,
    because stock transformers cannot load adapters.

    Args:
        model: Folder of a student, or of a teacher.
        out: New folder of the bundle.
        config: Opset and tolerance.
        backbone: A teacher's backbone; None takes the one that the teacher names.

    Returns:
        The largest difference from torch for each shape that was compared.

    Raises:
        InputError: when ``out`` exists, the folder holds neither model, a student is given a
            backbone, or the graph differs from torch by more than the tolerance.
    """
    if backbone is not None and not holds_teacher(model):
        raise InputError(f"{model} is not a teacher, so it has no other backbone: leave it out.")
    with new_folder(out) as partial:
        exported = _teacher(model, backbone) if holds_teacher(model) else _student(model, backbone)
        if exported.with_weights:
            exported.model.save_pretrained(partial)
        # A bundle's config names its task, and other tools know it by the model's class.
        exported.model.config.architectures = [type(exported.model).__name__]
        exported.model.config.update({TASK_KEY: exported.task.name})
        exported.model.config.save_pretrained(partial)
        save_tokenizer(exported.tokenizer, partial)
        traced = Traced(
            model=exported.model,
            name=Arm(model.name),
            output_names=exported.task.objective().output_names,
            max_length=int(exported.tokenizer.model_max_length),
        )
        parity = write_graph(traced, partial / MODEL, config)
        seal_bundle(partial)
    return tuple(parity)


def _teacher(folder: Path, backbone: str | None) -> _Exported:
    description, checkpoint, model = load_backed_teacher(folder, backbone=backbone)
    return _Exported(
        model=model,
        tokenizer=load_tokenizer(checkpoint, max_length=description.max_length),
        task=find_task(description.task),
        with_weights=False,
    )


def _student(folder: Path, backbone: str | None) -> _Exported:
    if backbone is not None:
        raise InputError(f"{folder} is not a teacher: leave --backbone out.")
    checkpoint = find_checkpoint(ModelConfig(model=str(folder)))
    config = read_model_config(checkpoint)
    task = task_of_model(config.to_dict())
    names = {int(index): name for index, name in (config.id2label or {}).items()}
    labels = tuple(names[index] for index in sorted(names))
    return _Exported(
        model=load_model(checkpoint, task.objective(), labels=labels),
        tokenizer=load_tokenizer(checkpoint, max_length=longest_input(checkpoint)),
        task=task,
        with_weights=True,
    )
