"""Splits: which text belongs to training, validation and test.

Splits depend on the seed and on the texts alone, not on the order of the rows. A text of an earlier
run can keep the split that it had there. Then a run that starts from that run's weights has never
seen a text that is held out now.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from pipeline.config import DataConfig
from pipeline.errors import InputError
from pipeline.texts.cells import Label
from pipeline.texts.tables import Text, read_split

LabelledText = tuple[Text, Label]
Strata = Callable[[Sequence[Label]], list[int]]
"""(labels) -> group of each."""
KeptTogether = Callable[[Text], str]
"""(text) -> what texts of one split alone may share."""

Draw = Callable[[list[LabelledText], int], tuple[list[LabelledText], list[LabelledText]]]
"""(rows, how many to draw) -> the rest, and those drawn."""

SPLITS = ("train", "validation", "test")
LEFT_OUT = "left-out"
"""Training texts beyond ``train_size``: kept apart, so that a later run does not test on them."""


def hold_out(
    rows: dict[str, list[LabelledText]],
    config: DataConfig,
    seed: int,
    *,
    strata: Strata,
    together: KeptTogether | None = None,
) -> dict[str, list[LabelledText]]:
    """Return all three splits and `LEFT_OUT`; a missing one is held out of ``train``.

    Held-out splits and ``train_size`` are drawn by label, each class in proportion. Texts that
    belong together are drawn together, whatever their labels.

    Args:
        rows: The sources' distinct rows, ``train`` among them, each sorted.
        config: Sizes, and the earlier run whose splits are kept.
        seed: Seed of all draws.
        strata: Groups of labels that are drawn in proportion.
        together: What texts of one split alone may share.

    Raises:
        InputError: for an empty split, or an earlier run's folder that holds no splits.
    """
    earlier = {} if config.splits_of is None else _read_earlier(Path(config.splits_of))
    draw: Draw = (
        partial(draw_by_group, seed=seed, strata=strata)
        if together is None
        else partial(draw_together, seed=seed, together=together)
    )
    if together is not None:  # new questions on a known context go where it is
        shared = {together(text): name for text, name in earlier.items()}
        known = {row[0]: shared.get(together(row[0])) for part in rows.values() for row in part}
        earlier |= {text: name for text, name in known.items() if name is not None}
    splits = dict(rows)
    for name, size in (("test", config.test_size), ("validation", config.validation_size)):
        if name not in splits:
            splits["train"], splits[name] = _take(splits["train"], name, size, draw, earlier)
        else:  # sorted: its first texts would be no sample
            splits[name] = _shuffled(splits[name], np.random.default_rng(seed))
    size = len(splits["train"]) if config.train_size is None else config.train_size
    beyond = max(0, len(splits["train"]) - size)
    splits["train"], splits[LEFT_OUT] = draw(splits["train"], beyond)
    for name in SPLITS:
        if not splits[name]:
            raise InputError(
                f"The {name} split is empty: every text of it is in another split. Give a "
                "source with other texts, or let it be held out of data.train."
            )
    return splits


def _read_earlier(folder: Path) -> dict[Text, str]:
    """Return the split that each text of an earlier run belongs to."""
    try:
        earlier = {text: name for name in SPLITS for text in read_split(folder, name).texts}
        if (folder / f"{LEFT_OUT}.parquet").is_file():
            earlier |= dict.fromkeys(read_split(folder, LEFT_OUT).texts, "train")
        return earlier
    except InputError as error:
        raise InputError(
            f"data.splits_of = {folder} does not hold the splits of an earlier run ({error}). Give "
            "the folder data of a finished run, such as runs/latest/data, or runs/NAME.data after "
            "run --until data."
        ) from error


def _take(
    rows: list[LabelledText],
    name: str,
    size: int | float,
    draw: Draw,
    earlier: dict[Text, str],
) -> tuple[list[LabelledText], list[LabelledText]]:
    """Split rows in two: the rows that are kept, and the split of this name.

    Texts of an earlier run keep their split. An equal fraction of the other texts is taken.
    """
    count = size if isinstance(size, int) else round(size * len(rows))
    if not 0 < count < len(rows):
        raise InputError(
            f"data.{name}_size = {size} takes {count} of {len(rows)} texts, which leaves an empty "
            f"split. Give a size between 1 and {len(rows) - 1}, or more texts."
        )
    if not earlier:
        return draw(rows, count)
    fresh = [row for row in rows if row[0] not in earlier]
    new_kept, new_taken = draw(fresh, round(len(fresh) * count / len(rows)))
    known = [row for row in rows if row[0] in earlier]
    kept = [row for row in known if earlier[row[0]] != name]
    taken = [row for row in known if earlier[row[0]] == name]
    return kept + new_kept, taken + new_taken


def draw_by_group(
    rows: list[LabelledText], count: int, *, seed: int, strata: Strata
) -> tuple[list[LabelledText], list[LabelledText]]:
    """Draw so many rows, each group in proportion; return the rest first, both shuffled.

    A group is never drawn whole while another one can give: a class of one text stays in the rest.
    """
    if not rows:
        return [], []
    generator = np.random.default_rng(seed)
    groups: dict[int, list[LabelledText]] = {}
    for row, group in zip(rows, strata([label for _, label in rows]), strict=True):
        groups.setdefault(group, []).append(row)
    sizes = np.array([len(groups[group]) for group in sorted(groups)])
    taken_sizes = _proportional(sizes, count, generator)
    rest: list[LabelledText] = []
    taken: list[LabelledText] = []
    for group, size in zip(sorted(groups), taken_sizes, strict=True):
        order = generator.permutation(len(groups[group]))
        taken += [groups[group][row] for row in order[:size]]
        rest += [groups[group][row] for row in order[size:]]
    return _shuffled(rest, generator), _shuffled(taken, generator)


def draw_together(
    rows: list[LabelledText], count: int, *, seed: int, together: KeptTogether
) -> tuple[list[LabelledText], list[LabelledText]]:
    """Draw at least so many rows, those that share something together; return the rest first.

    One group always stays in the rest. Both parts are shuffled.
    """
    generator = np.random.default_rng(seed)
    groups: dict[str, list[LabelledText]] = {}
    for row in rows:
        groups.setdefault(together(row[0]), []).append(row)
    names = sorted(groups)
    rest: list[LabelledText] = []
    taken: list[LabelledText] = []
    for place, number in enumerate(generator.permutation(len(names))):
        is_wanted = len(taken) < count and place < len(names) - 1
        (taken if is_wanted else rest).extend(groups[names[number]])
    return _shuffled(rest, generator), _shuffled(taken, generator)


def _proportional(sizes: np.ndarray, count: int, generator: np.random.Generator) -> list[int]:
    """Return how many of each group to take: the largest remainders are rounded up, ties by lot."""
    exact = count * sizes / max(1, sizes.sum())
    limits = sizes - 1 if count <= (sizes - 1).sum() else sizes
    taken = np.minimum(np.floor(exact).astype(int), limits)
    lots = generator.random(len(sizes))
    while (missing := count - taken.sum()) > 0:
        # Whoever is at its limit goes last.
        order = np.lexsort((lots, taken - exact, taken >= limits))
        taken[order[: min(missing, (taken < limits).sum())]] += 1
    return [int(size) for size in taken]


def _shuffled(rows: list[LabelledText], generator: np.random.Generator) -> list[LabelledText]:
    return [rows[row] for row in generator.permutation(len(rows))]
