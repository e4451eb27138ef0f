"""Protection of what people changed on a server: a comparison of three states, part by part.

The first state is the one that the project wants, and the second is the one on the server. The
third is the digest of what the project itself put there last. A part that differs from it was
changed by people.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Parts = Mapping[str, Any]  # Any: a JSON value
"""The parts of something on the server by their names, each as a JSON value."""

Why = Literal["people", "both", "unknown"]
"""Author of a part that is left as it is: people, people and the project, or unknown."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Merge:
    """Plan of a start: parts to change, parts to leave, and digests to remember."""

    set: Mapping[str, Any]  # Any: a JSON value
    """Parts that get the project's value."""
    removed: tuple[str, ...]
    """Parts that the project no longer has, and nobody has changed."""
    left: Mapping[str, Why]
    """Parts that stay as people set them, though the project's differ."""
    record: Mapping[str, str]
    """Digests of what the project itself put there last, for the next start."""


def digest(value: Any) -> str:  # Any: a JSON value
    """Return a short digest of a JSON value."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def merge(record: Mapping[str, str] | None, ours: Parts, theirs: Parts) -> Merge:
    """Compare the three states of each part.

    Args:
        record: Digests of what the project put there last; None where nobody remembers.
        ours: What the project wants.
        theirs: What is on the server.
    """
    remembered = record or {}
    wanted = {name: digest(value) for name, value in ours.items()}
    found = {name: digest(value) for name, value in theirs.items()}
    set_, removed, left, kept = {}, [], {}, {}
    for name in sorted({*wanted, *found, *remembered}):
        ours_now, theirs_now, last = wanted.get(name), found.get(name), remembered.get(name)
        if ours_now != theirs_now and (record is None or theirs_now != last):
            left[name] = _why(record, ours_now, last)
            if last is not None:
                kept[name] = last
        elif ours_now is not None:
            kept[name] = ours_now
            if ours_now != theirs_now:
                set_[name] = ours[name]
        elif theirs_now is not None:
            removed.append(name)
    return Merge(set=set_, removed=tuple(removed), left=left, record=kept)


def _why(record: Mapping[str, str] | None, ours: str | None, last: str | None) -> Why:
    if record is None:
        return "unknown"
    return "people" if ours == last else "both"
