"""Promotion and roll back: the champion moves one promotion at a time, to proven versions only.

A promotion checks the candidate's gate again from the numbers of its report. It compares the
candidate with the champion on the same texts. It recomputes every digest and checks the answers to
the golden inputs. Only then do the aliases move, so a failure anywhere leaves the champion as it
was.

Promotions of one student wait for each other under a lock. Each names the champion that it means to
replace. If two started from the same champion, the second finds a new champion and stops.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from pipeline.config import PromotionRule
from pipeline.decisions.check import Check, failures
from pipeline.errors import InputError
from pipeline.release.aliases import CHALLENGER, CHAMPION, PREVIOUS
from pipeline.release.bundle import open_bundle
from pipeline.release.history import former_champions, note_champion
from pipeline.release.marks import ROLLED_BACK, clear_marks, mark
from pipeline.release.registry import Registry, Version
from pipeline.release.report_view import ReportView
from pipeline.release.standing import hold_against_champion

DEFAULT_RULE = PromotionRule()
_FORCE = "Promote another version, or force this one with --force."


@dataclass(frozen=True, kw_only=True, slots=True)
class Promotion:
    """Outcome of a promotion: the new champion, and the checks that allowed it."""

    name: str
    champion: int
    """Number of the version that is served from now on."""
    previous: int | None
    """Number of the one that was served before; None for a first champion."""
    checks: tuple[Check, ...]
    """Checks of the gate, then the one against a champion; none for a roll back."""


def promote(
    registry: Registry,
    name: str,
    which: str = CHALLENGER,
    *,
    expected_champion: int | None = None,
    rule: PromotionRule = DEFAULT_RULE,
    force: bool = False,
) -> Promotion:
    """Make a version the champion, after every check, or leave all as it is.

    Args:
        registry: Where.
        name: The student's name.
        which: Number or alias of the candidate.
        expected_champion: The champion to replace, by number, 0 for none; the one that is champion
            now where it is not given.
        rule: Limits against the champion. A version is refused when the whole paired interval of
            the main metric is beyond its limit.
        force: Whether a version is promoted although it was rolled back from, refused by a
            retraining, or could not be compared with the champion. Gate, digests and golden inputs
            hold all the same.

    Raises:
        InputError: with every reason why not.
    """
    seen = (
        registry.alias(name, CHAMPION) if expected_champion is None else expected_champion or None
    )
    candidate = registry.find(name, which)
    with registry.lock(name):
        champion = registry.alias(name, CHAMPION)
        _check_champion(name, seen, champion)
        if champion == candidate.number:
            raise InputError(f"{name} version {champion} is the champion already.")
        report = registry.report(candidate)
        standing = hold_against_champion(registry, candidate, rule)
        doubts = () if force else standing.doubts
        reasons = (*_failed_checks(report), *failures(standing.checks), *doubts)
        if reasons:
            advice = f" {_FORCE}" if doubts else ""
            raise InputError(
                f"{name} version {candidate.number} was not promoted: {' '.join(reasons)}{advice} "
                f"{_still(champion)}"
            )
        _prove(registry, candidate, champion)
        note_champion(registry, name, candidate.number, before=champion)
        _move(registry, name, candidate.number)
        clear_marks(registry, candidate, registry.versions(name))
        if candidate.number == registry.alias(name, CHALLENGER):
            registry.drop(name, CHALLENGER)
        _stamp(registry, candidate, "promoted_at")
    return Promotion(
        name=name,
        champion=candidate.number,
        previous=champion,
        checks=(*report.checks, *standing.checks),
    )


def roll_back(registry: Registry, name: str, reason: str = "") -> Promotion:
    """Make the champion before this one the champion; a second roll back goes further back.

    The version that is rolled back from is marked with time and reason. Only ``force`` promotes it
    again, and no roll back returns to it.

    Raises:
        InputError: when there is no earlier one, or its bundle is damaged.
    """
    with registry.lock(name):
        champion = registry.alias(name, CHAMPION)
        former = former_champions(registry, name, champion)
        if champion is None or not former:
            raise InputError(
                f"{name} has no previous champion to return to. Promote another version: "
                f"adapter-distill models promote {name} NUMBER."
            )
        version = registry.find(name, str(former[-1]))
        _prove(registry, version, champion)
        # The mark first: what broke off between the two is rolled back from by the next call.
        mark(registry, registry.find(name, str(champion)), ROLLED_BACK, reason)
        _move(registry, name, version.number)
        _stamp(registry, version, "rolled_back_at")
    return Promotion(name=name, champion=version.number, previous=champion, checks=())


def _check_champion(name: str, seen: int | None, champion: int | None) -> None:
    if seen != champion:
        raise InputError(
            f"{name}'s champion is {_number(champion)}, not {_number(seen)} as when this promotion "
            "began. Another promotion was faster. Compare with the new champion, and promote again."
        )


def _failed_checks(report: ReportView) -> tuple[str, ...]:
    """Hold every number against its limit again; a verdict alone is not believed."""
    reasons = tuple(check.reason for check in report.checks if not check.holds())
    if not reasons and (report.verdict != "passed" or not report.checks):
        reasons = report.reasons or ("Its report has no passed gate.",)
    return reasons


def _prove(registry: Registry, version: Version, champion: int | None) -> None:
    """Recompute the digests and let the student answer its golden inputs."""
    try:
        open_bundle(registry.fetch(version), sha256=version.bundle_sha256, threads=1)
    except InputError as error:
        raise InputError(f"{error} {_still(champion)}") from error


def _move(registry: Registry, name: str, champion: int) -> None:
    """Move the champion, in one write; then show what a roll back would return to."""
    registry.point(name, CHAMPION, champion)
    _confirm(registry, name, champion)
    former = former_champions(registry, name, champion)
    if former:
        registry.point(name, PREVIOUS, former[-1])
    elif registry.alias(name, PREVIOUS) is not None:
        registry.drop(name, PREVIOUS)


def _confirm(registry: Registry, name: str, number: int) -> None:
    """Read the alias again: a server has no lock for promotions from other machines."""
    found = registry.alias(name, CHAMPION)
    if found != number:
        raise InputError(
            f"{name}'s champion is {_number(found)} and not version {number}. Another machine "
            "moved it at the same time. Look at `adapter-distill models list`, and promote again."
        )


def _stamp(registry: Registry, version: Version, key: str) -> None:
    registry.tag(version, key, datetime.now(UTC).isoformat(timespec="seconds"))


def _number(version: int | None) -> str:
    return "no version" if version is None else f"version {version}"


def _still(champion: int | None) -> str:
    return f"The champion is still {_number(champion)}."
