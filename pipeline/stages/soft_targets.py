"""Stage soft_targets: the teacher's outputs on the training and validation texts, once.

The teacher is frozen, so its outputs on a text never change. Distillation reads them from disk.
Texts are read and answered in parts, and each part is a shard on disk. A stage that was killed
keeps its whole shards when it starts again.
"""

from dataclasses import dataclass
from pathlib import Path

from models.processes import exchange, is_first
from pipeline.checkpoints.compute import place
from pipeline.checkpoints.context import ModelContext
from pipeline.checkpoints.teachers import load_teacher
from pipeline.checkpoints.tokenizers import load_tokenizer
from pipeline.errors import InputError
from pipeline.facts.data import DataFacts, UnlabelledFacts
from pipeline.facts.training import SoftTargetFacts, TeacherFacts
from pipeline.store.stage import Stage
from pipeline.store.store import SCRATCH
from pipeline.texts.mapped import StoredTexts, store_texts
from pipeline.texts.soft_targets import (
    count_outputs,
    holds_soft_targets,
    shard_path,
    write_soft_targets,
)
from pipeline.texts.tables import read_split
from pipeline.texts.unlabelled import read_transfer_texts
from pipeline.training.encoding import compute_outputs
from pipeline.training.ranks import in_processes
from pipeline.training.rows import TEXTS_AT_ONCE, row_parts


@dataclass(frozen=True, kw_only=True, slots=True)
class SoftTargetSettings:
    """Settings that shape soft targets, beside data and teacher."""

    context: ModelContext
    texts: int | None
    """Most training and unlabelled texts; None takes all."""
    part: int = 0
    """Number of the part of the texts that is answered, from 0."""
    parts: int = 1
    """Parts that the texts are cut into."""
    texts_per_shard: int = TEXTS_AT_ONCE
    """Number of texts per shard; a tenth of it where every token has outputs."""


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
    wanted = _own_texts(data, unlabelled, settings)
    objective, whole = context.task.objective(), out / SCRATCH / "shards"
    whole.mkdir(parents=True, exist_ok=True)
    parts = row_parts(
        tokenizer,
        wanted,
        context.task,
        max_length=context.max_length,
        size=settings.texts_per_shard,
    )
    done = shards = 0
    for number, rows in enumerate(parts):
        if not exchange(is_first() and holds_soft_targets(rows.keys, whole, shard=number))[0]:
            title = f"soft targets, {done:,} of {len(wanted):,} done" if number else "soft targets"
            outputs = compute_outputs(model, objective, tokenizer, rows.examples, title=title)
            if is_first():
                write_soft_targets(rows.keys, outputs, whole, shard=number)
        done, shards = done + len(rows.texts), number + 1
    if is_first():
        for number in range(shards):
            shard_path(whole, number).rename(shard_path(out, number))
    exchange(None)  # the others read what the first has moved
    return SoftTargetFacts(texts=len(wanted), outputs=count_outputs(out))


def _own_texts(
    data: Stage[DataFacts], unlabelled: Stage[UnlabelledFacts] | None, settings: SoftTargetSettings
) -> StoredTexts:
    """Return the texts of this part: training, unlabelled, then validation texts."""
    more = None if unlabelled is None else unlabelled.folder
    validation = store_texts(read_split(data.folder, "validation").texts)
    texts = read_transfer_texts(data.folder, more, settings.texts).and_then(validation)
    first = len(texts) * settings.part // settings.parts
    last = len(texts) * (settings.part + 1) // settings.parts
    if first == last:
        raise InputError(
            f"cluster.shards: {settings.parts} shards are more than the {len(texts)} texts that "
            "the teacher answers. Lower it."
        )
    return texts[first:last]
