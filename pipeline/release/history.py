"""Former champions of a student, in the order in which they were served.

A tag of the registered student lists champions, the newest last. The alias ``champion`` alone says
who is champion now. A version after the champion in that list was rolled back from. Or its
promotion broke off before the alias moved. The list is therefore written first, and one later
write, that of the alias, takes effect. A crash between the two leaves the champion and its past as
they were.

Registries of earlier versions have no such tag. There the times of promotion give the order.
"""

from collections.abc import Sequence

from pipeline.release.aliases import PREVIOUS
from pipeline.release.marks import is_marked
from pipeline.release.registry import Registry, Version

CHAMPIONS = "champions"
"""Tag of a registered student: numbers of its champions, the newest last."""
_KEPT = 200
_NONE = 0
"""Stands in that list for the time without a champion."""


def former_champions(registry: Registry, name: str, champion: int | None) -> tuple[int, ...]:
    """Return the champions to which a roll back may go, the oldest first, each once.

    Versions that were rolled back from, were refused or are deleted are not among them.
    """
    versions = registry.versions(name)
    sound = {each.number for each in versions if not is_marked(each, versions)}
    newest_first = reversed(_past(registry, name, champion, versions))
    former = [number for number in dict.fromkeys(newest_first) if number in sound - {champion}]
    return tuple(reversed(former))


def note_champion(registry: Registry, name: str, number: int, *, before: int | None) -> None:
    """Write down that a version follows the champion; call it before the alias moves."""
    past = _past(registry, name, before, registry.versions(name))
    numbers = [*past, before or _NONE, number][-_KEPT:]
    registry.write_note(name, CHAMPIONS, " ".join(map(str, numbers)))


def _past(
    registry: Registry, name: str, champion: int | None, versions: Sequence[Version]
) -> list[int]:
    """Return every champion before this one, the oldest first."""
    noted = registry.note(name, CHAMPIONS)
    if noted is None:
        return _by_promotion(registry, name, champion, versions)
    listed = [int(number) for number in noted.split() if number.isdecimal()]
    now = champion or _NONE
    if now not in listed:  # somebody moved the alias by hand
        return listed
    return listed[: len(listed) - 1 - listed[::-1].index(now)]


def _by_promotion(
    registry: Registry, name: str, champion: int | None, versions: Sequence[Version]
) -> list[int]:
    """Return the same for a registry without the list, by the times of promotion."""
    stamps = {each.number: each.tags.get("promoted_at", "") for each in versions}
    ordered = sorted((time, number) for number, time in stamps.items() if time)
    if champion is not None and stamps.get(champion):
        ordered = [each for each in ordered if each < (stamps[champion], champion)]
    past = [number for _, number in ordered if number != champion]
    previous = registry.alias(name, PREVIOUS)
    if not past and previous is not None and not stamps.get(previous):
        past = [previous]
    return past
