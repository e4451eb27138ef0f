"""Labels of a classification as the sources spell them: all names, or all indices.

All sources are read together and one way. Stars 1 to 4 in a test file must not become indices when
other sources have a 5. Some spellings differ from a name in case, white space, composed characters
or a final ``.0``. They are read where one name alone fits, and logged. Everything else is refused.
"""

import difflib
import logging
import re
import unicodedata
from collections.abc import Mapping, Sequence

from pipeline.config import DataConfig
from pipeline.tasks.columns import (
    Column,
    Given,
    Proposal,
    UnfitError,
    check_names,
    find_label,
    find_texts,
    in_order,
    is_class,
    without,
)
from pipeline.tasks.task import LabelColumn
from pipeline.texts.cells import Label

logger = logging.getLogger(__name__)

_WHOLE = re.compile(r"([-+]?\d+)\.0+")
_UNLABELLED = "-1"
"""Index that ``datasets`` gives to a row without a label."""
_SHOWN = 10


def read_class_labels(
    columns: Sequence[LabelColumn], config: DataConfig
) -> list[list[Label | None]]:
    """Return the class index of every cell of every source; None for an empty cell.

    A column with its own label names is matched by name, never by position. Its index i stands for
    its own i-th name.

    Raises:
        ValueError: for cells that are no labels, or that can be read as names and as indices.
    """
    plain = _read_together([each for each in columns if each.own_names is None], config)
    found: list[list[Label | None]] = []
    for column in columns:
        known = plain if column.own_names is None else _read_own(column, config)
        found.append([known[cell] if cell else None for cell in column.cells])
    return found


def propose_classes(columns: Sequence[Column], given: Given) -> Proposal:
    """Return how to read a table for a classification.

    Raises:
        UnfitError: where the columns are not certain.
    """
    text, assumed = find_texts(columns, given)
    label, more = find_label(
        without(columns, text), given, is_class, "2 to 1,000 values, each of several rows"
    )
    if label.own_names:
        return Proposal(
            text=text, label=(label.name,), labels=label.own_names, assumed=(*assumed, *more)
        )
    names = in_order(label.distinct)
    if not 2 <= len(names) <= len(label.values or ()) // 2:
        raise UnfitError(
            f"The column {label.name!r} holds {len(names)} different values in "
            f"{len(label.cells)} rows, which are no classes. Name another column with --label."
        )
    check_names(names, fold_label, label.name)
    return Proposal(text=text, label=(label.name,), labels=names, assumed=(*assumed, *more))


def _read_together(columns: Sequence[LabelColumn], config: DataConfig) -> dict[str, int]:
    """Return the class of each distinct cell."""
    cells = sorted({cell for column in columns for cell in column.cells if cell})
    names = _by_name(cells, config.labels)
    numbers = {str(index): index for index in range(len(config.labels))}
    indices = {cell: numbers[fold_label(cell)] for cell in cells if fold_label(cell) in numbers}
    if unknown := [cell for cell in cells if cell not in names and cell not in indices]:
        raise ValueError(_unknown(unknown, columns, config))
    if len(names) == len(cells) and _are_names(names, indices, config):
        _say(names, config)
        return names
    if len(indices) == len(cells) and all(names.get(c, i) == i for c, i in indices.items()):
        return indices
    raise ValueError(_two_readings(names, indices, config))


def _are_names(names: Mapping[str, int], indices: Mapping[str, int], config: DataConfig) -> bool:
    """Return whether cells, all of them names, cannot be indices."""
    differ = any(indices[cell] != names[cell] for cell in names if cell in indices)
    is_complete = len(set(names.values())) == len(config.labels)
    return not differ or len(indices) < len(names) or is_complete


def _read_own(column: LabelColumn, config: DataConfig) -> dict[str, int | None]:
    """Return the class of each cell of a column with its own label names."""
    own = {str(index): name for index, name in enumerate(column.own_names or ())}
    names = _by_name(sorted(own.values()), config.labels)
    known: dict[str, int | None] = {_UNLABELLED: None}
    known |= {index: names[name] for index, name in own.items() if name in names}
    if unknown := sorted({cell for cell in column.cells if cell and cell not in known}):
        raise ValueError(_unknown(unknown, [column], config, own))
    used = {own[cell] for cell in column.cells if cell in own}
    _say({name: names[name] for name in sorted(used)}, config)
    return known


def _by_name(cells: Sequence[str], names: Sequence[str]) -> dict[str, int]:
    """Return the class of each cell that is a name, or that fits a single name."""
    exact = {name: index for index, name in enumerate(names)}
    folded: dict[str, list[int]] = {}
    for name, index in exact.items():
        folded.setdefault(fold_label(name), []).append(index)
    found = {}
    for cell in cells:
        candidates = [exact[cell]] if cell in exact else folded.get(fold_label(cell), [])
        if len(candidates) == 1:
            found[cell] = candidates[0]
    return found


def fold_label(cell: str) -> str:
    """Return a cell without case, superfluous white space and a final ``.0``."""
    folded = " ".join(unicodedata.normalize("NFC", cell).split()).casefold()
    whole = _WHOLE.fullmatch(folded)
    return whole[1] if whole else folded


def _say(names: Mapping[str, int], config: DataConfig) -> None:
    other = [f"{c!r} as {config.labels[i]!r}" for c, i in names.items() if c != config.labels[i]]
    if other:
        logger.info("data.labels: the column %r is read with %s", config.label, ", ".join(other))


def _unknown(
    cells: Sequence[str],
    columns: Sequence[LabelColumn],
    config: DataConfig,
    own: Mapping[str, str] | None = None,
) -> str:
    shown = [f"{cell!r} ({own[cell]!r})" if own and cell in own else repr(cell) for cell in cells]
    rest = f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
    first = next(
        f"{column.cells[row]!r} in {column.source}, {column.place(row)}"
        for column in columns
        for row in range(len(column.cells))
        if column.cells[row] in cells
    )
    return (
        f"the column {config.label!r} holds {', '.join(shown[:_SHOWN])}{rest}, which "
        f"{'is' if len(cells) == 1 else 'are'} not in data.labels {list(config.labels)} (first: "
        f"{first}{_nearest([own[c] if own and c in own else c for c in cells], config.labels)}). "
        "Add the label, correct these cells, or filter their rows out"
    )


def _nearest(cells: Sequence[str], names: Sequence[str]) -> str:
    by_fold = {fold_label(name): name for name in names}
    near = {
        cell: by_fold[match]
        for cell in cells[:_SHOWN]
        for match in difflib.get_close_matches(fold_label(cell), by_fold, n=1)
    }
    hints = [f"{name!r} for {cell!r}" for cell, name in near.items()]
    return f"; nearest: {', '.join(hints)}" if hints else ""


def _two_readings(names: Mapping[str, int], indices: Mapping[str, int], config: DataConfig) -> str:
    only_names = [cell for cell in names if cell not in indices]
    only_indices = [cell for cell in indices if cell not in names]
    if only_names and only_indices:
        return (
            f"the column {config.label!r} holds names ({', '.join(map(repr, only_names[:5]))}) and "
            f"indices ({', '.join(map(repr, only_indices[:5]))}) of data.labels "
            f"{list(config.labels)}. Write all of them one way"
        )
    cell = next(cell for cell in indices if names.get(cell, indices[cell]) != indices[cell])
    return (
        f"the column {config.label!r} holds {', '.join(map(repr, sorted({*names, *indices})[:10]))}"
        f", and data.labels is {list(config.labels)}. It can be read in two ways: {cell!r} is the "
        f"name of class {names[cell]}, and the index of {config.labels[indices[cell]]!r}. As names "
        f"they fit {len(names)} of {len({*names, *indices})} values, as indices {len(indices)}. "
        "Write names that are no numbers into the data, and into data.labels"
    )
