"""The tasks by name. A new task is a file in this folder, and a line here and in config/task.py."""

from collections.abc import Mapping

from pipeline.tasks.classification import CLASSIFICATION
from pipeline.tasks.multi_label import MULTI_LABEL
from pipeline.tasks.regression import REGRESSION
from pipeline.tasks.task import Task

TASKS: Mapping[str, Task] = {task.name: task for task in (CLASSIFICATION, MULTI_LABEL, REGRESSION)}


def find_task(name: str) -> Task:
    """Return the task that a config's ``task`` names."""
    return TASKS[name]


def task_of_model(config: Mapping[str, object]) -> Task:
    """Return the task that a transformers ``config.json`` was saved for."""
    named = config.get("problem_type")
    found = (task for task in TASKS.values() if named and task.problem_type == named)
    return next(found, CLASSIFICATION)
