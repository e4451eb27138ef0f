"""The wanted columns of a source as it is: cells by their types, and where each row stands."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.errors import InputError
from pipeline.texts.cells import Cell


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceTable:
    """One source, read."""

    source: str
    """Name of the source in messages."""
    columns: Mapping[str, Sequence[Cell]]
    """The wanted columns by name, all of the same length."""
    size: int
    """Number of rows."""
    lines: Sequence[int] | None = None
    """Line that each row begins in; None where the source has no lines."""
    first: int = 0
    """Number of the source's rows before these."""
    ids: Sequence[str] | None = None
    """Name of each row, where a source without lines has such."""
    label_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """A hub data set's own names of the indices in a column."""

    def place(self, row: int) -> str:
        """Return where a row stands: ``line 17``, ``row 3``, or ``row 3 (5726f9)`` with its id."""
        if self.ids is not None:
            return f"row {row + 1} ({self.ids[row]})"
        return f"row {self.first + row + 1}" if self.lines is None else f"line {self.lines[row]}"


def find_columns(wanted: Sequence[str], names: Sequence[str], source: str) -> dict[str, int]:
    """Return the position of each wanted column among the names of a source.

    White space around a name counts for nothing where that leaves one candidate.

    Raises:
        InputError: for a name that is missing, or that stands there twice.
    """
    found = {name: _positions(name, names) for name in dict.fromkeys(wanted)}
    if missing := [name for name, positions in found.items() if not positions]:
        raise InputError(
            f"{source} has no column {', '.join(map(repr, missing))}. Its columns are "
            f"{', '.join(map(repr, names)) or 'none'}: set data.text, data.label and data.filter "
            f"to these{_nearest(missing, names)}."
        )
    for name, positions in found.items():
        if len(positions) > 1:
            raise InputError(
                f"{source} has {len(positions)} columns named {name!r} (columns "
                f"{', '.join(str(position + 1) for position in positions)}), and any of them may "
                "be meant. Rename all but one of them."
            )
    return {name: positions[0] for name, positions in found.items()}


def _positions(name: str, names: Sequence[str]) -> list[int]:
    exact = [position for position, other in enumerate(names) if other == name]
    return exact or [position for position, other in enumerate(names) if other.strip() == name]


def _nearest(missing: Sequence[str], names: Sequence[str]) -> str:
    by_fold = {name.strip().casefold(): name for name in names}
    pairs = [(name, difflib.get_close_matches(name.casefold(), by_fold, n=1)) for name in missing]
    hints = [f"{by_fold[near[0]]!r} for {name!r}" for name, near in pairs if near]
    return f" (perhaps {', '.join(hints)})" if hints else ""
