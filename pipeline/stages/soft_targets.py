"""Stage soft_targets: the teacher's logits on the training and validation texts, once.

The teacher is frozen, so what it says of a text never changes; distillation reads it from disk.
"""

from pathlib import Path

from models.losses import Objective
from pipeline.checkpoints.pretrained import Checkpoint, load_tokenizer
from pipeline.checkpoints.teachers import load_teacher
from pipeline.facts.data import DataFacts
from pipeline.facts.training import SoftTargetFacts, TeacherFacts
from pipeline.store.stage import Stage
from pipeline.texts.tables import read_split, write_soft_targets
from pipeline.training.encoding import encode, predict_logits


def compute_soft_targets(
    data: Stage[DataFacts],
    teacher: Stage[TeacherFacts],
    checkpoint: Checkpoint,
    out: Path,
    *,
    objective: Objective,
    texts: int | None,
    max_length: int,
) -> SoftTargetFacts:
    """Write the teacher's logits on ``texts`` training texts and all validation texts."""
    model = load_teacher(checkpoint, teacher.folder, objective)
    tokenizer = load_tokenizer(checkpoint, max_length=max_length)
    wanted = (
        *read_split(data.folder, "train").head(texts).texts,
        *read_split(data.folder, "validation").texts,
    )
    examples = encode(tokenizer, wanted, max_length=max_length)
    logits = predict_logits(model, tokenizer, examples, title="soft targets")
    write_soft_targets(wanted, logits, out)
    return SoftTargetFacts(texts=len(wanted), classes=logits.shape[1])
