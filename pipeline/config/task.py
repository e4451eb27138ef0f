"""Names of the tasks."""

from typing import Literal

TaskName = Literal["classification", "multi-label", "regression", "token-classification"]
"""Kind of answer to a text: a label, any number of labels, a number, or a tag per word."""
