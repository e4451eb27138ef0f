"""Stage import: adapters that were trained elsewhere become the teacher, in finetune's place."""

import re
from pathlib import Path

from models.objective import Objective
from models.teacher import backbone_digest, freeze_backbone
from pipeline.adapterhub.head import single_labels
from pipeline.artifacts import Stage, sha256_file, sha256_json
from pipeline.checkpoints import Checkpoint, find_adapter_folder, load_tokenizer
from pipeline.config import AdapterSource
from pipeline.encoding import encode, predict_logits
from pipeline.errors import InputError
from pipeline.import_adapter import find_setup, hang_setup
from pipeline.records import DataFacts, Point, TeacherFacts, TrainingOutcome
from pipeline.tables import read_split
from pipeline.task import Task
from pipeline.teachers import describe_teacher, save_teacher

_UNNAMED = re.compile(r"LABEL_\d+")
"""What transformers calls a label that was given no name."""


def import_teacher(
    data: Stage[DataFacts],
    checkpoint: Checkpoint,
    source: AdapterSource,
    out: Path,
    *,
    task: Task,
    objective: Objective,
    max_length: int,
) -> TeacherFacts:
    """Write the imported teacher to ``out``; nothing is trained.

    Args:
        data: The splits; the teacher is measured on the validation split.
        checkpoint: The backbone that the adapters were trained in.
        max_length: Longest input, in tokens.

    Raises:
        InputError: when the checkpoints are not sound, or their head's labels are not the data's.
    """
    setup = find_setup(
        [find_adapter_folder(reference) for reference in source.references],
        fusion=None if source.fusion is None else find_adapter_folder(source.fusion),
        together=source.together,
    )
    labels = data.facts.labels
    _check_labels(single_labels(setup.head), labels, setup.head)
    model, adapters = hang_setup(setup, checkpoint, objective, labels=labels)
    freeze_backbone(model)
    tokenizer = load_tokenizer(checkpoint, max_length=max_length)
    validation = read_split(data.folder, "validation")
    examples = encode(tokenizer, validation.texts, max_length=max_length)
    metrics = task.metrics(predict_logits(model, tokenizer, examples), validation.labels)
    save_teacher(
        model,
        out,
        checkpoint=checkpoint,
        labels=labels,
        adapter=adapters,
        max_length=max_length,
    )
    return describe_teacher(
        model,
        adapter=source,
        digest=backbone_digest(model),
        warnings=(),
        outcome=TrainingOutcome(
            steps=0,
            best_step=0,
            best_metric=metrics[task.main_metric],
            precision="fp32",
            curve=(Point(step=0, validation=metrics),),
        ),
    )


def adapters_digest(source: AdapterSource) -> str:
    """Return a digest of all files of the checkpoints, which changes when one of them does."""
    references = [*source.references, *([source.fusion] if source.fusion else [])]
    return sha256_json(
        [
            {
                str(path.relative_to(folder)): sha256_file(path)
                for path in sorted(folder.rglob("*"))
                if path.suffix in (".json", ".bin", ".safetensors")
            }
            for folder in map(find_adapter_folder, references)
        ]
    )


def _check_labels(own: tuple[str, ...], wanted: tuple[str, ...], head: Path) -> None:
    unnamed = all(_UNNAMED.fullmatch(name) for name in own) and len(own) == len(wanted)
    if own == wanted or unnamed:
        return
    same = "Put data.labels in the head's order." if sorted(own) == sorted(wanted) else ""
    raise InputError(
        f"The head in {head} has the labels {list(own)}, but data.labels is {list(wanted)}. "
        f"{same or 'Give the names that the head was trained with, in its order.'}"
    )
