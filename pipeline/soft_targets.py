"""Stage soft_targets: the teacher's logits on the training and validation texts, once.

The teacher is frozen, so what it says of a text never changes; distillation reads it from disk.
"""

from pathlib import Path

from models.objective import Objective
from pipeline.artifacts import Stage
from pipeline.checkpoints import Checkpoint, load_tokenizer
from pipeline.encoding import encode, predict_logits
from pipeline.records import DataFacts, SoftTargetFacts, TeacherFacts
from pipeline.tables import read_split, write_soft_targets
from pipeline.teachers import load_teacher


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
