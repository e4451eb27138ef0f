"""The tasks by name. A new task is a file in this folder, and a line here and in config/task.py."""

from collections.abc import Mapping
from typing import Any

from pipeline.tasks.causal_lm import CAUSAL_LM
from pipeline.tasks.classification import CLASSIFICATION
from pipeline.tasks.multi_label import MULTI_LABEL
from pipeline.tasks.question_answering import QUESTION_ANSWERING
from pipeline.tasks.regression import REGRESSION
from pipeline.tasks.task import Task
from pipeline.tasks.token_classification import TOKEN_CLASSIFICATION

TASKS: Mapping[str, Task] = {
    task.name: task
    for task in (
        CLASSIFICATION,
        MULTI_LABEL,
        REGRESSION,
        TOKEN_CLASSIFICATION,
        QUESTION_ANSWERING,
        CAUSAL_LM,
    )
}


TASK_KEY = "adapter_distill_task"
"""Key of an exported ``config.json`` that names its task."""


def find_task(name: str) -> Task:
    """Return the task that a config's ``task`` names."""
    return TASKS[name]


def task_of_model(config: Mapping[str, Any]) -> Task:
    """Return the task that a transformers ``config.json`` was saved for.

    A config that was exported here names its task. Others show it by class and problem type.
    """
    if (own := TASKS.get(str(config.get(TASK_KEY)))) is not None:
        return own
    named, classes = config.get("problem_type"), config.get("architectures") or ()
    for task in TASKS.values():
        if task.model_suffix != CLASSIFICATION.model_suffix:
            if any(str(name).endswith(task.model_suffix) for name in classes):
                return task
        elif named and task.problem_type == named:
            return task
    return CLASSIFICATION
