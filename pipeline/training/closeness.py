"""Closeness of a student to its teacher, from both models' outputs on the same texts."""

from collections.abc import Sequence

from transformers import PreTrainedModel

from pipeline.checkpoints.context import ModelContext
from pipeline.checkpoints.tokenizers import load_tokenizer
from pipeline.facts.quality import Metrics
from pipeline.texts.tables import Split, Text
from pipeline.training.encoding import compute_outputs
from pipeline.training.rows import make_rows


def compare_models(
    teacher: PreTrainedModel,
    student: PreTrainedModel,
    compared: Split | Sequence[Text],
    context: ModelContext,
) -> Metrics:
    """Return the student's closeness to its teacher, and on a split its quality too."""
    task, objective = context.task, context.task.objective()
    texts = compared.texts if isinstance(compared, Split) else compared
    tokenizer = load_tokenizer(context.backbone, max_length=context.max_length)
    rows = make_rows(tokenizer, texts, task, max_length=context.max_length)
    said = compute_outputs(teacher, objective, tokenizer, rows.examples)
    own = rows.read(compute_outputs(student, objective, tokenizer, rows.examples, teacher=said))
    wanted = rows.read(said)
    if not isinstance(compared, Split):
        return task.fidelity(own, wanted)
    return task.compare(own, wanted, task.truth(compared.texts, compared.labels))
