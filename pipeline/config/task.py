"""Names of the tasks."""

from typing import Literal

TaskName = Literal[
    "classification", "multi-label", "regression", "token-classification", "question-answering"
]
"""Kind of answer to a text. It is a label, any number of labels, a number, a tag per word, or a
part of a context."""
