"""A version's standing before its promotion: the champion's check, and reasons for doubt.

Unknown quality is not good enough. A version that cannot be compared with the champion is doubtful,
as one that was rolled back from is. Whoever knows better overrides a doubt, never a failed check.
"""

from dataclasses import dataclass

from pipeline.config import PromotionRule
from pipeline.decisions.check import Check, failures
from pipeline.decisions.quality import against_champion
from pipeline.release.aliases import CHAMPION
from pipeline.release.marks import describe_marks
from pipeline.release.pairing import compare_versions
from pipeline.release.registry import Registry, Version
from pipeline.tasks.all_tasks import find_task


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """Everything beside its own gate that speaks for or against a version."""

    checks: tuple[Check, ...] = ()
    """The one against the champion, where both saw the same texts."""
    doubts: tuple[str, ...] = ()
    """Reasons that ``force`` overrides: marks, and a missing comparison."""

    @property
    def refusals(self) -> tuple[str, ...]:
        """Return every reason for which a promotion without ``force`` is refused."""
        return (*failures(self.checks), *self.doubts)


def hold_against_champion(registry: Registry, candidate: Version, rule: PromotionRule) -> Standing:
    """Return how a version stands against the champion of now, on texts that both may be held to.

    These are their common test split, or else texts that are held out of both.
    """
    doubts = describe_marks(candidate, registry.versions(candidate.name))
    champion = registry.alias(candidate.name, CHAMPION)
    if champion is None or champion == candidate.number:
        return Standing(doubts=doubts)
    baseline = registry.find(candidate.name, str(champion))
    found = compare_versions(registry, baseline, candidate, min_texts=rule.min_champion_texts)
    if found.paired is None:
        unknown = (
            f"It was not compared with the champion, version {champion}: they were measured on "
            f"different test texts, and {found.why_not}."
        )
        return Standing(doubts=(*doubts, unknown))
    check = against_champion(
        found.paired,
        metric=find_task(registry.report(candidate).task).main_metric,
        max_loss=rule.max_champion_drop,
        setting="max_champion_drop",
        evidence="not_refuted",
    )
    return Standing(checks=(check,), doubts=doubts)
