"""Record of what the project last put on a Prefect server, kept there as variables.

It works for every database, and a new machine that takes over an old server finds it there.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import VariableCreate, VariableUpdate

from flows.server.kept_changes import Parts, Why, digest, merge

Say = Callable[[str], None]
"""Takes a line about what was done or left."""

_PREFIX = "adapter-distill-deployed"
_TAGS = ["adapter-distill"]
_WHY: Mapping[Why, str] = {
    "people": "left as it was changed here",
    "both": "left as it was changed here, though the project's changed too",
    "unknown": "differs from the project's, and is left: no record says who changed it",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """Something on the server that the project brings along, and people may change."""

    name: str
    ours: Parts
    """State that the project wants."""
    theirs: Parts | None
    """State on the server; None where it is missing."""
    create: Callable[[], object]
    change: Callable[[Mapping[str, Any]], object]  # Any: a JSON value, or None to remove a part
    """Takes the parts that change; None stands for a part that goes."""


def bring_up(client: SyncPrefectClient, entry: Entry, say: Say) -> None:
    """Create an entry, or change what the project changed in it; leave what people changed."""
    known = _read(client, entry.name)
    if entry.theirs is None:
        entry.create()
        say(f"{entry.name}: created")
        _write(client, entry.name, known, {name: digest(each) for name, each in entry.ours.items()})
        return
    outcome = merge(known, entry.ours, entry.theirs)
    changes = {**outcome.set, **dict.fromkeys(outcome.removed)}
    if changes:
        entry.change(changes)
        say(f"{entry.name}: brought up to date: {', '.join(changes)}")
    for part, why in outcome.left.items():
        say(f"{entry.name}: {part}: {_WHY[why]}")
    _write(client, entry.name, known, outcome.record)


def _read(client: SyncPrefectClient, name: str) -> dict[str, str] | None:
    variable = client.read_variable_by_name(_variable(name))
    value = variable.value if variable else None
    # Somebody may have written something else into it.
    return {str(k): str(v) for k, v in value.items()} if isinstance(value, dict) else None


def _write(
    client: SyncPrefectClient,
    name: str,
    known: Mapping[str, str] | None,
    record: Mapping[str, str],
) -> None:
    if known == record:
        return
    value = dict(record)
    if client.read_variable_by_name(_variable(name)) is None:
        client.create_variable(VariableCreate(name=_variable(name), value=value, tags=_TAGS))
    else:
        client.update_variable(VariableUpdate(name=_variable(name), value=value))


def _variable(name: str) -> str:
    return f"{_PREFIX}-{re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-')}"
