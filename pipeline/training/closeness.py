"""How close a student is to its teacher, by both models' outputs on the same examples."""

from collections.abc import Sequence

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipeline.facts.quality import Metrics
from pipeline.tasks.task import Task
from pipeline.tasks.words import pad_rows
from pipeline.texts.cells import MISSING_LABEL
from pipeline.training.encoding import Example, compute_outputs


def compare_models(
    teacher: PreTrainedModel,
    student: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    task: Task,
) -> Metrics:
    """Return how close the student is to its teacher; with labels, how good it is too."""
    objective = task.objective()
    own, wanted = (
        compute_outputs(model, objective, tokenizer, examples) for model in (student, teacher)
    )
    if "labels" not in examples[0]:
        return task.fidelity(own, wanted)
    labels = [np.asarray(example["labels"]) for example in examples]
    padded = pad_rows(labels, MISSING_LABEL) if task.per_word else np.array(labels)
    return task.compare(own, wanted, padded)
