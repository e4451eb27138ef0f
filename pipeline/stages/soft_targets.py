"""Stage soft_targets: the teacher's outputs on the training and validation texts, once.

The teacher is frozen, so what it says of a text never changes; distillation reads it from disk.
"""

from dataclasses import dataclass
from pathlib import Path

from models.processes import is_first
from pipeline.checkpoints.compute import place
from pipeline.checkpoints.context import ModelContext
from pipeline.checkpoints.teachers import load_teacher
from pipeline.checkpoints.tokenizers import load_tokenizer
from pipeline.facts.data import DataFacts, UnlabelledFacts
from pipeline.facts.training import SoftTargetFacts, TeacherFacts
from pipeline.store.stage import Stage
from pipeline.texts.tables import read_split, write_soft_targets
from pipeline.texts.unlabelled import read_transfer_texts
from pipeline.training.encoding import compute_outputs
from pipeline.training.ranks import in_processes
from pipeline.training.rows import make_rows


@dataclass(frozen=True, kw_only=True, slots=True)
class SoftTargetSettings:
    """What shapes soft targets, beside data and teacher."""

    context: ModelContext
    texts: int | None
    """Training and unlabelled texts; None takes all."""


@in_processes
def compute_soft_targets(
    data: Stage[DataFacts],
    unlabelled: Stage[UnlabelledFacts] | None,
    teacher: Stage[TeacherFacts],
    settings: SoftTargetSettings,
    out: Path,
) -> SoftTargetFacts:
    """Write the teacher's outputs on training, unlabelled and validation texts to ``out``."""
    context = settings.context
    model = place(load_teacher(context.backbone, teacher.folder), context.compute)
    tokenizer = load_tokenizer(context.backbone, max_length=context.max_length)
    more = None if unlabelled is None else unlabelled.folder
    wanted = (
        *read_transfer_texts(data.folder, more, settings.texts),
        *read_split(data.folder, "validation").texts,
    )
    rows = make_rows(tokenizer, wanted, context.task, max_length=context.max_length)
    objective = context.task.objective()
    outputs = compute_outputs(model, objective, tokenizer, rows.examples, title="soft targets")
    if is_first():
        write_soft_targets(rows.keys, outputs, out)
    return SoftTargetFacts(texts=len(wanted), outputs=outputs.shape[-1])
