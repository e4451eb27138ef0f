"""Names of the tasks."""

from typing import Literal

TaskName = Literal["classification", "regression"]
"""``classification``: one of several labels for a text or a pair; ``regression``: a number."""
