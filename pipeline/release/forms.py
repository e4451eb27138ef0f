"""Forms of a promotion and a roll back: in the Prefect UI, and as options of the command line.

Nothing heavy is imported here: help must start at once.
"""

from pydantic import Field

from pipeline.config import PromotionRule, RegistryPlace, Section
from pipeline.release.aliases import CHALLENGER


class _Student(Section):
    name: str
    """The student's name, as in its config."""


class _Candidate(_Student):
    version: str = CHALLENGER
    """Number or alias of the version."""

    expect_champion: int | None = Field(default=None, ge=0)
    """Number of the version that must be the champion now; 0 if there must be none."""

    force: bool = False
    """Promote even a version that was rolled back from, was refused against the champion, or cannot
    be compared with it. Its own gate must pass in any case."""


# Of several bases pydantic takes the fields of the last one first.
class PromotionForm(RegistryPlace, PromotionRule, _Candidate):
    """Which student to promote."""


class _Roll(_Student):
    reason: str = Field(default="", max_length=500)
    """Fault of the champion; kept with the version that is rolled back from."""


class RollbackForm(RegistryPlace, _Roll):
    """Which student to roll back."""
