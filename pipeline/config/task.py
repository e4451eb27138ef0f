"""Names of the tasks."""

from typing import Literal

TaskName = Literal["classification", "multi-label", "regression", "token-classification"]
"""``classification``: one of several labels for a text or a pair; ``multi-label``: any number of
them; ``regression``: a number; ``token-classification``: a tag for every word."""
