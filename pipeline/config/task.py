"""Names of the tasks."""

from typing import Literal

TaskName = Literal[
    "classification",
    "multi-label",
    "regression",
    "token-classification",
    "question-answering",
    "causal-lm",
]
"""Kind of answer to a text. It is one label or several, a number, a tag per word, a part of a
context, or more text."""
