"""Marks of versions that proved bad: rolled back from, or refused against the champion.

A mark is a tag with its time and reason. It counts for every version with the same files, because a
new registration does not improve a bad student.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

from pipeline.release.registry import Registry, Version

ROLLED_BACK = "rolled_back_from"
"""Mark of a champion that was rolled back from."""
REFUSED = "refused_against_champion"
"""Mark of a version that retraining did not let replace the champion."""
_SAID = {ROLLED_BACK: "rolled back from", REFUSED: "refused against the champion"}
_LONGEST = 4900
"""Characters of a tag's value, below MLflow's own limit."""


def mark(registry: Registry, version: Version, tag: str, reason: str) -> None:
    """Mark a version, with the time of now."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    registry.tag(version, tag, f"{now} {reason or 'no reason given'}"[:_LONGEST])


def describe_marks(version: Version, versions: Sequence[Version]) -> tuple[str, ...]:
    """Return a sentence for each mark of a version, or of another one with the same files."""
    return tuple(
        f"{each.name} version {each.number}{_same(each, version)} was {said} ({each.tags[tag]})."
        for each in _alike(version, versions)
        for tag, said in _SAID.items()
        if tag in each.tags
    )


def is_marked(version: Version, versions: Sequence[Version]) -> bool:
    """Return whether a version has a mark."""
    return bool(describe_marks(version, versions))


def brief_verdict(version: Version) -> str:
    """Return the gate's verdict on a version and its own marks, in a few words."""
    marks = [said for tag, said in _SAID.items() if tag in version.tags]
    return ", ".join([version.tags.get("verdict", ""), *marks])


def clear_marks(registry: Registry, version: Version, versions: Sequence[Version]) -> None:
    """Remove every mark of a version that somebody promoted all the same."""
    for each in _alike(version, versions):
        for tag in set(_SAID) & set(each.tags):
            registry.untag(each, tag)


def _alike(version: Version, versions: Sequence[Version]) -> list[Version]:
    files = _files(version)
    return [
        each
        for each in versions
        if each.number == version.number or (files is not None and _files(each) == files)
    ]


def _files(version: Version) -> str | None:
    """Return the digest of a student's files; in old registries, that of its bundle."""
    return version.tags.get("student_sha256") or version.tags.get("bundle_sha256")


def _same(found: Version, asked: Version) -> str:
    return "" if found.number == asked.number else f", the same student as {asked.number},"
